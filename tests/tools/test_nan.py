"""Losses and weights that are not finite: one line with the first iteration, and nothing bad is saved or scored."""
import json
import math
import runpy
import sys
from pathlib import Path

import break_hook  # noqa: F401  registers its hooks
import pytest
import torch
from fabricate_records import record, transfer
from mmengine.config import Config
from toy_runner import toy_runner

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.errors import UserError
from mimtransfer.results import render
from mimtransfer.results.measurement import read_curves, standard_metrics, without_detections
from mimtransfer.results.record import Run, write_record
from mimtransfer.results.table import build_table
from mimtransfer.training.safeguards import set_safeguards

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
SEG = str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py")
SHORT = ["train_cfg.max_iters=4", "train_cfg.val_interval=4", "default_hooks.checkpoint.interval=2",
         "train_dataloader.batch_size=2", *(f"{name}_dataloader.{key}" for name in ("train", "val", "test")
                                            for key in ("num_workers=0", "persistent_workers=False"))]


def stopped(runner):
    with pytest.raises(UserError) as error:
        runner.train()
    line = str(error.value)
    assert "\n" not in line
    return line


def checkpoints(work_dir):
    return sorted(path.name for path in Path(work_dir).glob("*.pth"))


@pytest.mark.parametrize(("config", "loss"), [(DET, "loss_rpn_cls is nan"), (SEG, "decode.loss_ce is nan")])
def test_transfer_stops_without_a_score(config, loss, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_scenes(tmp_path / "data/scenes", SceneSet(counts={"train": 4, "val": 2, "unlabelled": 0}), workers=1,
                progress=False)
    work_dir = "nan_det" if config == DET else "nan_seg"
    leaf = Path(f"{work_dir}.py")
    leaf.write_text(f"_base_ = [{config!r}]\ncustom_imports = dict(imports=['mimtransfer', 'break_hook'], "
                    "_delete_=True)\ncustom_hooks = [dict(type='mimtransfer.RecordHook'), "
                    "dict(type='PoisonHook', at=3)]\n")
    monkeypatch.setattr(sys, "argv", ["train", str(leaf), "--work-dir", work_dir, "--cfg-options", *SHORT])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "tools/train.py"), run_name="__main__")
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and line.startswith("error: ") and loss in line
    assert " iteration 3 (images " in line and ".jpg" in line
    assert f"the last good checkpoint is {tmp_path}/{work_dir}/iter_2.pth" in line
    assert not Path(work_dir, "result.json").exists() and checkpoints(work_dir) == ["iter_2.pth"]
    curve = read_curves(work_dir, {"epochs": None, "iters": 4})["loss"]
    assert [point for point in curve if point[1] is None] == [[3, None]]


def test_the_first_iteration_is_named_between_looks(tmp_path):
    """The run is shorter than the interval of 50; what is between looks is kept on the device."""
    runner = toy_runner(tmp_path, [dict(type="PoisonHook", at=6)])
    line = stopped(runner)
    assert line.startswith("loss_a is nan, loss_b is nan in epoch 2, iteration 6 (images image_")
    assert f"the last good checkpoint is {tmp_path}/epoch_1.pth" in line
    assert checkpoints(tmp_path) == ["epoch_1.pth"]
    lines = [json.loads(text) for text in next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    assert math.isnan(lines[-1]["loss"]) and lines[-1]["iter"] == 6


@pytest.mark.parametrize("interval", [2, 3, 5])
def test_the_iteration_does_not_depend_on_the_interval(interval, tmp_path):
    hooks = [dict(type="PoisonHook", at=5), dict(type="FiniteLossHook", interval=interval)]
    runner = toy_runner(tmp_path, hooks, **{"default_hooks.checkpoint.interval": 100})
    assert ", iteration 5 (" in stopped(runner)


def test_weights_are_looked_at_before_each_save(tmp_path):
    """The last step of an epoch breaks them: all its losses were finite."""
    line = stopped(toy_runner(tmp_path, [dict(type="PoisonHook", at=8, after=True)]))
    assert line.startswith("the weight linear.weight is not finite after iteration 8")
    assert checkpoints(tmp_path) == ["epoch_1.pth"]


def test_without_any_checkpoint(tmp_path):
    line = stopped(toy_runner(tmp_path, [dict(type="PoisonHook", at=1)], by_epoch=False))
    assert "in iteration 1 (" in line and "then start again" in line and checkpoints(tmp_path) == []


def test_a_buffer_that_is_not_a_number(tmp_path):
    runner = toy_runner(tmp_path)
    runner.model.mean.fill_(float("nan"))
    assert "the weight mean is not finite" in stopped(runner)
    assert checkpoints(tmp_path) == []


def test_infinity_on_purpose_in_a_buffer_is_no_fault(tmp_path):
    runner = toy_runner(tmp_path)
    runner.model.mean.fill_(float("-inf"))
    runner.train()
    assert checkpoints(tmp_path) == ["epoch_2.pth", "epoch_3.pth"]


def test_a_checkpoint_that_holds_nan_is_not_gone_on_from(tmp_path):
    toy_runner(tmp_path).train()
    content = read_checkpoint(tmp_path / "epoch_3.pth")
    content = {**content, "state_dict": {**content["state_dict"], "linear.weight": torch.full((1, 1), float("nan"))}}
    torch.save(content, tmp_path / "broken.pth")
    (tmp_path / "broken.pth").replace(tmp_path / "epoch_3.pth")
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_2.pth"


def test_a_checkpoint_that_holds_nan_is_not_scored(tmp_path):
    """Of a run of another tool, or of an older version of this one."""
    model = torch.nn.Linear(2, 1)
    model.weight.data[0, 1] = float("nan")
    torch.save({"state_dict": model.state_dict()}, path := str(tmp_path / "x.pth"))
    with pytest.raises(UserError, match="1 tensors hold NaN, the first is 'weight'"):
        launch.check_checkpoint(model, path)


def test_a_config_of_the_users_own_gets_it_too():
    cfg = Config(dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=3, save_best="auto"))))
    set_safeguards(cfg)
    assert [hook["type"] for hook in cfg.custom_hooks] == ["mimtransfer.FiniteLossHook", "mimtransfer.ExactResumeHook"]
    assert cfg.default_hooks.checkpoint == dict(type="mimtransfer.WholeCheckpointHook", interval=3, save_best="auto")
    before = cfg.to_dict()
    set_safeguards(cfg)
    assert cfg.to_dict() == before
    for own in (dict(type="my.SavingHook"), None):
        cfg = Config(dict(default_hooks=dict(checkpoint=own), custom_hooks=[dict(type="FiniteLossHook", interval=7)]))
        set_safeguards(cfg)
        assert cfg.default_hooks.checkpoint == own and cfg.custom_hooks[0] == dict(type="FiniteLossHook", interval=7)
        with pytest.raises(UserError, match="--save-on-sigterm needs"):
            set_safeguards(cfg, save_on_signal=True)
    bare = Config({})
    set_safeguards(bare)
    assert bare.default_hooks.checkpoint.type == "mimtransfer.WholeCheckpointHook"


def test_curves_keep_the_place_where_a_run_broke(tmp_path):
    path = tmp_path / "20260101_000000/vis_data/scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(dict(loss=float("nan") if k == 150 else 1.0, iter=k, step=k)) + "\n"
                            for k in range(1, 201)))
    points = read_curves(tmp_path, {"epochs": None, "iters": 200})["loss"]
    assert len(points) == 100 and [point for point in points if point[1] is None] == [[150, None]]


def test_no_detection_at_all_is_noted(tmp_path):
    """mmdet gives no AP then; a plain 0.0 would look like a measured one."""
    missing = without_detections({}, dict(type="CocoMetric", metric=["bbox", "segm"]))
    noted = standard_metrics(missing, empty=missing)
    assert noted == {name: {"value": 0.0, "unit": "points", "note": "no detections"} for name in ("box_ap", "mask_ap")}
    assert "note" not in standard_metrics({"coco/bbox_mAP": 0.0})["box_ap"]
    written = write_record(record("transfer", "MAE", "a", {"k": 1}, metrics=noted), tmp_path)
    assert json.loads(written.read_text())["metrics"] == noted


def test_no_detection_at_all_has_a_footnote():
    found, empty = (transfer(f"r{k}", "detection", seed=k, box_ap=0.0) for k in (0, 1))
    empty["metrics"]["box_ap"]["note"] = "no detections"
    table = build_table([Run(f"{record['run_id']}/result.json", record) for record in (found, empty)])
    note = "nothing was detected in the whole data set, counted as 0.0: box AP of 'random init', seed 1."
    text = render.markdown(table)
    assert "| 0.0\u2021 \u00b1 0.0 (n=2) |" in text and f"- \u2021: {note}" in text
    assert r"0.0$^{\ddag}$" in render.latex(table) and f"% no detections: {note}" in render.latex(table)
    assert f"no detections: {note}" in json.loads(render.json_text(table))["notes"]
    plain = build_table([Run("r0/result.json", found)])
    assert "\u2021" not in render.markdown(plain)
