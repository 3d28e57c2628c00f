"""The table from fabricated records: rows, columns, what it refuses."""
import statistics

import pytest
from fabricate_records import init_from, pretrain, transfer

from mimtransfer.errors import UserError
from mimtransfer.results import render
from mimtransfer.results.fingerprint import protocol_config
from mimtransfer.results.record import Run
from mimtransfer.results.table import ProtocolMismatch, build_table

MAE = pretrain("mae-0", speed=1234.0)
FAMT = pretrain("famt-0", label="MAE + FAMT", speed=56.78)
ONE_SEED = [
    MAE,
    transfer("r-det", "detection", box_ap=27.14, mask_ap=25.0),
    transfer("r-seg", "segmentation", miou=40.0),
    transfer("m-det", "detection", MAE, box_ap=31.21, mask_ap=24.0),
    transfer("m-seg", "segmentation", MAE, miou=40.04),
    transfer("f-det", "detection", FAMT, box_ap=31.19, mask_ap=26.54),
]


def runs(records):
    return [Run(f"runs/{record['run_id']}/result.json", record) for record in records]


def seeds(name, source, values, metric="box_ap"):
    return [transfer(f"{name}{k}", "detection", source, seed=k, **{metric: value}) for k, value in enumerate(values)]


def test_mean_and_standard_deviation_over_seeds():
    other = pretrain("mae-1", speed=1266.0, seed=1)  # the same config with another seed
    records = seeds("r", None, [26.0, 28.0]) + seeds("m", MAE, [30.0, 31.0])
    records += [MAE, other, transfer("m2", "detection", other, seed=2, box_ap=33.0)]
    table = build_table(runs(records))
    text = render.markdown(table)
    assert "| random init |           27.0 \u00b1 1.4 (n=2) |                 - |" in text
    assert "| MAE         | **31.3 \u00b1 1.5** (+4.3, n=3) |         1250 \u00b1 23 |" in text
    assert "- mean \u00b1 standard deviation of the sample over n seeds.\n" in text
    cell = table.rows[1].cells[table.columns[0]]
    assert cell.values == [30.0, 31.0, 33.0]
    assert cell.mean == pytest.approx(94 / 3, abs=1e-12)
    assert cell.std == pytest.approx(statistics.stdev([30, 31, 33]), abs=1e-12)
    assert cell.difference == pytest.approx(94 / 3 - 27, abs=1e-12)


def test_baseline_can_be_named():
    table = build_table(runs(ONE_SEED), baseline="MAE")
    assert [row.label for row in table.rows] == ["MAE", "MAE + FAMT", "random init"]
    assert "27.1 (-4.1)" in render.markdown(table) and "**31.2** (-0.0)" not in render.markdown(table)
    with pytest.raises(UserError, match="--baseline: no row is labelled 'mea'; did you mean 'MAE'"):
        build_table(runs(ONE_SEED), baseline="mea")


def test_no_baseline_no_differences():
    table = build_table(runs(seeds("m", MAE, [31.21]) + seeds("f", FAMT, [30.0])))
    assert table.baseline is None
    assert "**31.2** |" in render.markdown(table) and "difference" not in render.markdown(table)


def test_metrics_can_be_chosen():
    records = [transfer("a", "detection", box_ap=1.0, box_ap50=2.0)]
    table = build_table(runs(records), ["box_ap50", "box_ap"])
    assert [column.title for column in table.columns] == ["box AP50", "box AP"]
    with pytest.raises(UserError, match="--metrics: no record has 'box_ap55'; did you mean 'box_ap50'"):
        build_table(runs(records), ["box_ap55"])
    choice = (r"any of knn_top1, top1, clean_top1, .*, box_ap, mask_ap, miou, depth_rmse, depth_abs_rel, depth_delta1; "
              "choose with .* macc")
    with pytest.raises(UserError, match=choice):
        build_table(runs([transfer("a", "segmentation", macc=1.0)]))


def test_protocols_with_names_of_their_own_get_columns_of_their_own():
    config = {"model.type": "detection", "optim_wrapper.optimizer.lr": 0.0002}
    records = [
        transfer("a", "detection", box_ap=1.0),
        transfer("b", "detection", config=config, protocol="long", box_ap=2.0),
    ]
    table = build_table(runs(records))
    assert [column.title for column in table.columns] == ["box AP (long)", "box AP (small_detection)"]
    assert [cell.mean for cell in table.rows[0].cells.values()] == [1.0, 2.0]


def test_different_protocols_in_a_column_are_refused():
    config = {"model.type": "detection", "optim_wrapper.optimizer.lr": 0.0002, "train_cfg.max_epochs": 3}
    records = [*seeds("r", None, [26.0, 28.0]), transfer("m", "detection", MAE, config=config, box_ap=31.0)]
    with pytest.raises(ProtocolMismatch) as error:
        build_table(runs(records))
    assert str(error.value) == (
        "2 different protocols are called 'small_detection' (detection); they differ in optim_wrapper.optimizer.lr, "
        "train_cfg.max_epochs: leave runs out, or give each config a name of its own (protocol = '...') and run again"
    )
    first, second = (record["protocol"]["fingerprint"][:12] for record in records[1:])
    assert error.value.details == [
        "Runs of the protocol 'small_detection' (detection) that cannot share a column:",
        f"  A, fingerprint {first}:",
        "    runs/r0/result.json (random init, seed 0)",
        "    runs/r1/result.json (random init, seed 1)",
        f"  B, fingerprint {second}:",
        "    runs/m/result.json (MAE, seed 0)",
        "  What differs between A and B:",
        "    optim_wrapper.optimizer.lr: A 0.0001, B 0.0002",
        "    train_cfg.max_epochs: A '<absent>', B 3",
    ]


def test_two_subsets_of_the_labels_are_no_repeats():
    def run(name, subset):
        cfg = {"train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 5}, "randomness": {"seed": 0},
               "train_dataloader": {"dataset": {"type": "ClassFolder", "num_images": 100, "seed": subset}}}
        return transfer(name, "classification", config=protocol_config(cfg), top1=40.0 + subset)

    with pytest.raises(ProtocolMismatch, match=r"differ in train_dataloader\.dataset\.seed"):
        build_table(runs([run("first", 0), run("second", 1)]))


def test_different_data_under_equal_configs_are_refused():
    first, second, unknown = seeds("r", None, [26.0, 28.0, 27.0])
    first["data_fingerprint"] = {"train": "1" * 64, "eval": "3" * 64}
    second["data_fingerprint"] = {"train": "2" * 64, "eval": "3" * 64}
    with pytest.raises(ProtocolMismatch, match=r"differ in data_fingerprint\.train: leave") as error:
        build_table(runs([first, second]))
    assert error.value.details[-1] == "    data_fingerprint.train: A '111111111111', B '222222222222'"
    assert build_table(runs([first, unknown])).rows[0].label == "random init"


def test_two_pretrainings_of_one_label_are_two_rows():
    longer = pretrain("mae-long", config={"model.type": "MAE", "train_cfg.max_epochs": 800})
    records = [MAE, longer, transfer("a", "detection", MAE, box_ap=1.0), transfer("b", "detection", longer, box_ap=2.0)]
    table = build_table(runs(records))
    labels = [row.label for row in table.rows]
    assert len(labels) == 2 and all(label.startswith("MAE [") for label in labels)
    (note,) = table.notes
    assert note.startswith("2 different pretrainings are labelled 'MAE': [") and "run mae-long, ImageFolder" in note
    assert note.endswith(". Their configs differ in train_cfg.max_epochs. Name them with RecordHook(label=...).")


def test_one_method_on_two_architectures_is_named_by_them():
    of_vit, of_resnet = pretrain("v", label="MFM"), pretrain("r", label="MFM", config={"model.encoder": "resnet50"})
    of_resnet["backbone"] = {"type": "TimmCNN", "arch": "resnet50"}
    small = {"model.backbone": "resnet50"}
    records = [
        transfer("a", "detection", of_vit, box_ap=1.0),
        transfer("b", "detection", of_resnet, config=small, protocol="resnet", box_ap=2.0),
        transfer("c", "detection", box_ap=0.5),
        transfer("d", "detection", config=small, protocol="resnet", box_ap=0.75),
        transfer("e", "detection", MAE, box_ap=1.5),
    ]
    records[1]["backbone"] = records[3]["backbone"] = of_resnet["backbone"]
    table = build_table(runs([*records, MAE, of_vit, of_resnet]))
    assert [row.label for row in table.rows] == ["random init", "MAE", "MFM, resnet50", "MFM, vit_tiny"]
    found = {
        row.label: {column.protocol: (cell.mean, cell.difference) for column, cell in row.cells.items()}
        for row in table.rows
    }
    assert found["random init"] == {"resnet": (0.75, None), "small_detection": (0.5, None)}
    assert found["MFM, resnet50"] == {"resnet": (2.0, 1.25)}
    assert found["MFM, vit_tiny"] == {"small_detection": (1.0, 0.5)} and not table.notes


@pytest.mark.parametrize(
    "changes", [{"iter": 300}, {"dataset": "CIFAR10, 50000 images"}, {"init": {"kind": "checkpoint", "sha256": "a"}}]
)
def test_what_makes_a_pretraining_another(changes):
    other = transfer("b", "detection", MAE, box_ap=2.0)
    other["init"] = init_from(MAE, **changes)
    assert len(build_table(runs([transfer("a", "detection", MAE, box_ap=1.0), other])).rows) == 2


def test_foreign_checkpoints_are_told_apart_by_content():
    records = seeds("x", MAE, [1.0, 2.0, 3.0])
    for record, sha in zip(records, ("a", "a", "b")):
        record["label"] = "mae_pretrain_vit_base"
        record["init"].update(sha256=sha * 64, pretraining=None)
    table = build_table(runs(records))
    assert sorted(len(cell.values) for row in table.rows for cell in row.cells.values()) == [1, 2]


def test_repeating_a_seed_is_no_new_sample():
    old, new = transfer("a", "detection", MAE, box_ap=1.0), transfer("b", "detection", MAE, box_ap=2.0)
    new["finished_at"] = "2026-01-02T00:00:00+00:00"
    table = build_table(runs([new, old]))
    assert [cell.values for cell in table.rows[0].cells.values()] == [[2.0]]
    assert table.notes == ["runs/a/result.json repeats the seed 0 of runs/b/result.json; the newer one counts."]
    copy = Run("copy/result.json", old)
    assert build_table([*runs([old]), copy]).notes == [
        "copy/result.json is left out: another record of the run in runs/a/result.json."
    ]


def test_tests_of_one_run_on_data_of_one_name_are_refused():
    """None is left out for the other: val of one set and val of another."""
    records = [transfer("a", "detection", MAE, box_ap=value) for value in (1.0, 2.0)]
    for record, digest in zip(records, "bc"):
        record["data_fingerprint"] = {"train": "a" * 64, "eval": digest * 64}
    with pytest.raises(ProtocolMismatch, match=r"they differ in data_fingerprint\.eval"):
        build_table(runs(records))


def test_a_pretraining_without_transfers_is_a_row():
    table = build_table(runs([MAE, transfer("a", "detection", box_ap=1.0)]))
    assert [(row.label, row.cells == {}, [cell.values for cell in row.costs.values()]) for row in table.rows] == [
        ("random init", False, []),
        ("MAE", True, [[1234.0], [60 / 3600], [2.0]]),
    ]


def test_speeds_of_different_machines_are_said():
    famt = pretrain("famt-1", label="MAE + FAMT")
    famt["cost"].update(device="NVIDIA H200", processes=2)
    notes = build_table(runs([MAE, famt])).notes
    assert notes == ["Costs of pretraining were measured on different machines: 1 x CPU; 2 x NVIDIA H200."]


def test_runs_without_evaluation_are_named():
    with pytest.raises(UserError, match=r"runs/a/result\.json: never evaluated; run tools/test\.py"):
        build_table(runs([transfer("a", "detection")]))
    unknown = transfer("a", "detection")
    unknown["raw_metrics"] = {"effective_rank": 17.5}
    with pytest.raises(UserError, match=r"none of its scores \(effective_rank\) is a metric of mimtransfer/results/"):
        build_table(runs([unknown]))

