"""Rows of released checkpoints: what their fields do, what is said where a file is missing, and that they load."""
from pathlib import Path

import pytest
import timm
import torch
from fabricate_records import pretrain, transfer
from published_shapes import published
from suite_toys import checkout

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.cli.launch import load_config
from mimtransfer.cli.options import option_texts
from mimtransfer.errors import UserError
from mimtransfer.results.record import Run
from mimtransfer.results.table import ProtocolMismatch, build_table
from mimtransfer.suites import plan
from mimtransfer.suites.local import LocalRunner, run_here
from mimtransfer.suites.state import Study
from mimtransfer.suites.suite import load_suite

ROOT = Path(__file__).resolve().parents[3]
SUITE = """
pretrainings = dict(
    other=dict(checkpoint="files/other.pth", source="https://example.com/other.pth",
               backbone=dict(arch="wide", sizes=[1, 2])),
    random=None,
)
tasks = dict(knn=dict(config="configs/knn.py", options={"model.backbone.arch": "toy", "x": 1}),
             det=dict(config="configs/det.py"), robust=dict(config="configs/knn.py", of="det"))
table = dict(across_backbones=True, digits=3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(checkout(tmp_path))
    Path("study.py").write_text(SUITE)
    return tmp_path


def test_backbone_of_a_checkpoint_is_that_of_every_task_from_it(folder):
    jobs = load_suite("study.py").jobs
    own = {"model.backbone.arch": "wide", "model.backbone.sizes": [1, 2]}
    assert jobs["knn_other-seed0"].options == {"x": 1, **own}
    assert jobs["det_other-seed0"].options == jobs["robust_other-seed0"].options == own
    assert jobs["knn_random-seed0"].options == {"model.backbone.arch": "toy", "x": 1}
    assert jobs["robust_random-seed0"].options == {}


def test_where_a_missing_file_comes_from_is_said_once_in_a_plan_and_by_each_job(folder):
    study = Study(folder, "study.py")
    line = "no file files/other.pth: it comes from https://example.com/other.pth"
    text = plan.plan(study, study.states(), 1, full=True)
    assert text.count("it comes from") == 1 and text.endswith(f"\n{line}")
    said = {words[0]: words[1] for words in map(str.split, text.splitlines()[1:])}
    assert said["knn_other-seed0"] == "missing" and said["robust_other-seed0"] == "waiting"
    lines = []
    failures = LocalRunner(study, [None], say=lines.append).run()
    assert failures == {"knn_other-seed0": line, "det_other-seed0": line,
                        "robust_other-seed0": "needs det_other-seed0, which failed"}  # fmt: skip
    assert f"[knn_other-seed0] FAILED: {line}" in lines and "[det_random-seed0] started" in lines
    with pytest.raises(UserError, match=r"^knn_other-seed0: no file files/other\.pth: it comes from"):
        run_here(study, study.suite.jobs["knn_other-seed0"])
    assert not Path("work_dirs/study/knn_other-seed0").exists()
    Path("files").mkdir()
    Path("files/other.pth").write_bytes(b"x")
    assert Study(folder, "study.py").states()["knn_other-seed0"].name == "new"


@pytest.mark.parametrize(("entry", "says"), [
    ("dict(checkpoint='a', options={'x': 1})", "is a checkpoint, nothing is run, so nothing reads its 'options'; "
     "leave it out, or set it in the tasks"),
    ("dict(checkpoint='a', seeds=[0])", "nothing reads its 'seeds'"),
    ("dict(config='configs/mae.py', backbone={'arch': 'x'})", "is run, so nothing reads its 'backbone'; leave it out"),
    ("dict(config='configs/mae.py', source='x')", "nothing reads its 'source'"),
    ("dict(checkpoint='a', backbone='vit')", "expected source='where the file comes from' and backbone=dict(arch=...)"),
    ("dict(checkpoint='a', source=1)", "expected source="),
])  # fmt: skip
def test_fields_that_nothing_reads_are_refused(entry, says, folder):
    Path("study.py").write_text(f"{SUITE}\npretrainings['other'] = {entry}\n")
    with pytest.raises(UserError) as error:
        load_suite("study.py")
    assert says in str(error.value) and "\n" not in str(error.value)


def records(**backbone):
    config = {"model.type": "detection", "optim_wrapper.optimizer.lr": 0.0001, "model.backbone.arch": "vit"}
    mae = pretrain("mae-0")
    return [mae, transfer("a", "detection", mae, config=config, box_ap=30.0),
            transfer("b", "detection", None, config=config, box_ap=20.0),
            transfer("c", "detection", pretrain("dino", label="DINOv2"), config={**config, **backbone}, box_ap=31.0)]


def runs(found):
    return [Run(f"runs/{record['run_id']}/result.json", record) for record in found]


def test_other_backbones_share_a_column_where_that_is_asked_for():
    found = runs(records(**{"model.backbone.arch": "vit14", "model.backbone.patch_size": 16}))
    with pytest.raises(ProtocolMismatch):
        build_table(found)
    table = build_table(found, across_backbones=True)
    assert {row.label: row.cells[table.columns[0]].mean for row in table.rows} == {
        "random init": 20.0, "MAE": 30.0, "DINOv2": 31.0}  # fmt: skip
    assert "Another backbone in the column 'small_detection': DINOv2 (arch 'vit14', not 'vit', patch_size 16, not " \
           "'<absent>')." in table.notes  # fmt: skip
    with pytest.raises(ProtocolMismatch, match=r"differ in optim_wrapper\.optimizer\.lr: leave"):
        build_table(runs(records(**{"model.backbone.arch": "vit14", "optim_wrapper.optimizer.lr": 0.1})),
                    across_backbones=True)  # fmt: skip


@pytest.mark.parametrize(("job", "family"), [
    ("knn_mae", "mae"), ("coco_mae", "mae"), ("ade20k_supervised", "mae_finetuned"), ("linear_dinov2", "dinov2"),
    ("coco_dinov2", "dinov2"), ("ade20k_dinov2", "dinov2"), ("ade20k_coco_detector", "vitdet"),
    ("linear_dinov3", None), ("coco_dinov3", None), ("ade20k_dinov3", None),
])  # fmt: skip
def test_a_released_checkpoint_loads_into_the_backbone_of_its_row(job, family, tmp_path):
    """With all names and shapes of the file, and random values: not one tensor of it is left over."""
    job = load_suite(str(ROOT / "configs/suites/baselines_vit-base.py")).jobs[f"{job}-seed0"]
    options = dict(load_config(str(ROOT / job.config), option_texts(job.options)).model.backbone)
    assert options.pop("type").endswith("TimmViT")
    with torch.device("meta"):
        backbone = TimmViT(**options)
    backbone.to_empty(device="cpu")
    if family is None:  # timm's own file
        with torch.device("meta"):
            names = timm.create_model(options["arch"], num_classes=0).state_dict()
        state = {name: torch.full((1,), 0.1).expand(value.shape) for name, value in names.items()}
    else:
        state = published(family)
    torch.save({"model": state}, tmp_path / "file.pth")
    report = load_backbone(backbone, tmp_path / "file.pth")
    own = backbone.state_dict()
    assert not report.missing and len(report.matched) > 140
    encoder = [name for name in report.unexpected if name.startswith(("blocks.", "patch_embed.", "pos_embed"))]
    assert not encoder
    left = {name.rpartition(".")[2] for name in report.expected_missing if own[name].is_floating_point()}
    assert left <= {"cls_token", "rel_pos_h", "rel_pos_w", "gamma", "relative_position_bias_table"}
