"""A transfer that starts from another training than a pretraining: what it is called and what came before it."""
import pytest

from mimtransfer.results.description import names_of_transfer
from mimtransfer.results.lineage import label_from
from mimtransfer.results.record import Run, upgrade
from mimtransfer.results.table import build_table
from tests.helpers.fabricate_records import init_from, pretrain, transfer

DETECTOR = "ViTDet Mask R-CNN, COCO 512, 25 epochs, on y, boxes only, quick look, 128 pixels"


def trained(run_id, source=None, protocol=DETECTOR):
    """A transfer, as one that others start from."""
    made = transfer(run_id, "detection", source, protocol=protocol, box_ap=16.0)
    made["cost"]["wall_s"], made["dataset"] = 3600.0, "CocoDataset data"
    return made


def started_from(source, run_id="t9", **changes):
    """A transfer from a transfer, labelled as its hook does."""
    made = transfer(run_id, "segmentation", source, miou=30.0)
    signed = {"kind": "transfer", "protocol": source["protocol"]["name"], "init": source["init"], **changes}
    made["init"] = init_from(source, **signed)
    made["label"] = names_of_transfer({"train_dataloader": {}}, made["init"], None)["label"]
    return made


def table(*records):
    return build_table([Run(f"{number}/result.json", record) for number, record in enumerate(records)])


def test_weights_that_were_trained_are_never_called_random_init():
    assert started_from(trained("d0"))["label"] == "ViTDet Mask R-CNN on y"
    assert started_from(trained("d0", pretrain("p0")))["label"] == "MAE, then ViTDet Mask R-CNN on y"


@pytest.mark.parametrize(("protocol", "dataset", "expected"), [
    ("Mask R-CNN, scenes", "CocoDataset toy", "Mask R-CNN on scenes"),
    ("UperNet, ADE20K 512, 160k iterations", None, "UperNet on ADE20K 512"),
    ("fine-tuning, 100 epochs", "ClassFolder c", "fine-tuning on c"),
    ("my_config", "ClassFolder my data", "my_config on my data"),
    (None, "CocoDataset y", "a training on y"),  # signatures before December 2026 name no protocol
    (None, None, "a training"),
])  # fmt: skip
def test_a_step_is_named_by_its_protocol(protocol, dataset, expected):
    origin = {"kind": "transfer", "label": "random init", "protocol": protocol, "dataset": dataset}
    assert label_from(origin) == expected


def test_a_test_of_an_old_checkpoint_names_its_start_as_a_training_does():
    init = started_from(trained("d0"))["init"]
    assert names_of_transfer({}, init, "random init")["label"] == "ViTDet Mask R-CNN on y"
    assert names_of_transfer({}, init, "mine")["label"] == "mine"


def test_an_old_record_that_calls_trained_weights_random_init_is_read_with_their_name():
    old = started_from(trained("d0"))
    old["label"] = "random init"
    upgrade(old)
    assert old["label"] == "ViTDet Mask R-CNN on y"
    named, random = started_from(trained("d0")), transfer("r0", "segmentation")
    named["label"] = "mine"
    for record, label in ((named, "mine"), (random, "random init")):
        upgrade(record)
        assert record["label"] == label


def test_the_cost_is_that_of_all_steps():
    source = pretrain("p0")
    source["cost"]["wall_s"] = 7200.0
    for records in ([source], []):  # the pretraining's own record at hand, or what the signatures carry
        made = table(started_from(trained("d0", source)), *records)
        row = next(row for row in made.rows if row.label.startswith("MAE, then"))
        assert row.costs["device_hours"].values == [3.0]
        assert "images_per_s" not in row.costs  # of two different models


def test_a_cost_of_which_a_part_is_not_known_is_left_out_and_said():
    source = trained("d0", pretrain("p0"))
    source["init"] |= {"pretraining": None, "path": "mae_pretrain_vit_base.pth"}
    made = table(started_from(source))
    assert "device_hours" not in made.rows[0].costs
    assert any("mae_pretrain_vit_base.pth" in note and "left out" in note for note in made.notes), made.notes
