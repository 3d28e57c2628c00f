"""RecordHook in mmengine Runners on toy models: what it writes, how it resumes, what a test alone does."""
import dataclasses
import hashlib
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from record_toys import RecordToyNet, loader, meta_of, pretraining, segmentation, train

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.results.fingerprint import fingerprint, protocol_config
from mimtransfer.results.record import read_record, validate
from mimtransfer.results.record_hook import RecordHook
from mimtransfer.training.schedule_hook import summary


def test_pretraining(tmp_path):
    runner = train(pretraining(tmp_path / "a"))
    record = read_record(tmp_path / "a/result.json")
    expected = {
        "kind": "pretrain",
        "mode": "train",
        "task": "pretrain",
        "label": "RecordToyModel",
        "method": "RecordToyModel",
        "strategy": "RandomMasking",
        "dataset": "RecordToyData camvid, 10 images",
        "seed": 5,
        "init": {"kind": "random"},
        "schedule": {"epochs": 4, "iters": 12},
        "evaluated": {"on": None, "iter": 12},
        "raw_metrics": {},
        "data_fingerprint": {},
    }
    assert {key: record[key] for key in expected} == expected
    assert record["backbone"] == {"type": "RecordToyNet", "arch": "vit_toy"}
    assert record["protocol"]["fingerprint"] == fingerprint(protocol_config(runner.cfg))
    history = runner.message_hub.get_scalar("train/loss")._log_history
    assert record["metrics"]["loss"]["value"] == pytest.approx(sum(history[-3:]) / 3, rel=1e-12)
    cost = record["cost"]
    assert cost["images_per_s"] > 0 and cost["wall_s"] > 0 and cost["peak_memory_bytes"] > 1 << 20 and cost["device"]
    assert (cost["processes"], cost["effective_batch"]) == (1, 4)
    assert cost["device_type"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert record["versions"]["torch"] == torch.__version__
    checkpoint = hashlib.sha256((tmp_path / "a/epoch_4.pth").read_bytes()).hexdigest()
    assert record["files"]["checkpoint"] == {"path": "epoch_4.pth", "sha256": checkpoint}
    assert (tmp_path / "a" / record["files"]["log"]).stat().st_size > 0
    # 12 iterations, 2 of warm-up in an epoch of 4 + 4 + 2 images
    assert meta_of(tmp_path / "a/epoch_4.pth")["cost"]["images"] == 2 + 10 + 10 + 10

    meta = meta_of(tmp_path / "a/epoch_2.pth")
    expected = {
        "kind": "pretrain",
        "run_id": record["run_id"],
        "label": "RecordToyModel",
        "method": "RecordToyModel",
        "seed": 5,
        "epoch": 2,
        "iter": 6,
        "strategy": "RandomMasking",
        "backbone": "RecordToyNet",
        "arch": "vit_toy",
        "epochs": 4,
        "iters": 12,
        "dataset": record["dataset"],
        "config_fingerprint": record["protocol"]["fingerprint"],
    }
    assert {key: meta[key] for key in expected} == expected


def test_several_masks_of_an_image_are_told(tmp_path):
    cfg = pretraining(tmp_path / "a")
    cfg["model"]["masks_per_image"] = 3
    runner = train(cfg)
    assert read_record(tmp_path / "a/result.json")["schedule"] == {"epochs": 4, "iters": 12, "masks_per_image": 3}
    told = "Schedule: 4 images a step (4 x 1 process), 12 steps, 48 images, 3 masks of each (144 masks; lr "
    assert summary(runner).startswith(told)
    broken = read_record(tmp_path / "a/result.json")
    broken["schedule"]["masks_per_image"] = "3"
    with pytest.raises(UserError, match=r"schedule\.masks_per_image' is '3', expected an integer"):
        validate(broken)


def test_a_killed_run_goes_on_with_its_account(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(pretraining(tmp_path / "a", [{"type": "RecordToyKill", "at": 8}]))
    assert not (tmp_path / "a/result.json").exists()
    path = tmp_path / "a/epoch_2.pth"
    checkpoint = read_checkpoint(path, mapped=False)
    signed = checkpoint["meta"]["mimtransfer"]
    assert signed["cost"]["images"] == 2 + 10
    signed["cost"] = {"images": 12, "seconds": 1200.0, "wall_s": 5000.0, "peak_memory_bytes": 1 << 50}
    torch.save(checkpoint, path)

    cfg = pretraining(tmp_path / "a")
    train(dict(cfg, resume=True))
    record = read_record(tmp_path / "a/result.json")
    assert record["run_id"] == signed["run_id"] and record["started_at"] == signed["started_at"]
    assert 5000.0 < record["cost"]["wall_s"] < 5600.0
    assert record["cost"]["peak_memory_bytes"] == 1 << 50
    # 6 iterations were left, 1 of warm-up: 4 + 2 images, then 10, in far less than a second each
    assert 12 / 1200 < record["cost"]["images_per_s"] <= (12 + 16) / 1200
    before = (tmp_path / "a/result.json").read_bytes()
    train(dict(cfg, resume=True))  # nothing is left to do
    assert (tmp_path / "a/result.json").read_bytes() == before


@dataclasses.dataclass
class Report:
    path: str = "/moved/epoch_4.pth"
    sha256: str = "a" * 64
    source: str = "mimtransfer"
    matched: tuple = ("x", "y")
    missing: tuple = ()
    expected_missing: tuple = ("rel_pos",)
    unexpected: tuple = ("decoder",)
    resized: dict = dataclasses.field(default_factory=lambda: {"pos_embed": "14 x 14 -> 8 x 8"})
    pretraining: dict | None = None


def test_transfer_names_its_pretraining(tmp_path, monkeypatch):
    origin = {
        "kind": "pretrain",
        "run_id": "p0",
        "label": "MAE + FAMT",
        "method": "MAE",
        "strategy": "FAMTMasking",
        "images_per_s": 9.0,
    }
    build = RecordToyNet.__init__
    monkeypatch.setattr(RecordToyNet, "__init__", lambda self, **k: build(self, **k, report=Report(pretraining=origin)))
    train(segmentation(tmp_path / "a"))
    record = read_record(tmp_path / "a/result.json")
    assert record["init"] == {
        "kind": "checkpoint",
        "path": "/moved/epoch_4.pth",
        "sha256": "a" * 64,
        "source": "mimtransfer",
        "matched": 2,
        "missing": 0,
        "expected_missing": 1,
        "unexpected": 1,
        "resized": 1,
        "pretraining": origin,
    }
    names = {
        "kind": "transfer",
        "task": "segmentation",
        "label": "MAE + FAMT",
        "method": "MAE",
        "strategy": "FAMTMasking",
        "seed": 5,
    }
    assert {key: record[key] for key in names} == names
    assert record["protocol"]["name"] == "toy"
    assert record["metrics"] == {"miou": {"value": 41.5, "unit": "points"}, "aacc": {"value": 80.0, "unit": "points"}}
    assert record["raw_metrics"] == {"mIoU": 41.5, "aAcc": 80.0}
    assert record["evaluated"] == {"on": "val", "iter": 12}


def test_a_start_from_another_training_is_named_by_it(tmp_path, monkeypatch):
    train(segmentation(tmp_path / "a"))
    signed = meta_of(tmp_path / "a/epoch_4.pth")
    assert (signed["label"], signed["protocol"]) == ("random init", "toy")
    build = RecordToyNet.__init__
    monkeypatch.setattr(RecordToyNet, "__init__", lambda self, **k: build(self, **k, report=Report(pretraining=signed)))
    train(segmentation(tmp_path / "b"))
    assert read_record(tmp_path / "b/result.json")["label"] == "toy on camvid"


def test_validation_and_checkpoints_in_mid_epoch(tmp_path):
    cfg = segmentation(
        tmp_path / "a",
        train_cfg={"by_epoch": False, "max_iters": 8, "val_interval": 4},
        train_dataloader=dict(loader(40, 4), sampler={"type": "InfiniteSampler", "shuffle": False}),
        label="unused",
    )
    cfg["default_hooks"]["checkpoint"].update(by_epoch=False, interval=3)
    cfg["custom_hooks"][0]["label"] = "mine"
    train(cfg)
    record = read_record(tmp_path / "a/result.json")
    assert record["label"] == "mine" and record["init"] == {"kind": "random"}
    assert record["schedule"] == {"epochs": None, "iters": 8}
    # Starts after 2, stops after 3 (checkpoint), starts after 4 but validates, starts after 5, stops after 6.
    assert meta_of(tmp_path / "a/iter_6.pth")["cost"]["images"] == 4 + 4
    assert meta_of(tmp_path / "a/iter_6.pth")["kind"] == "transfer"


def test_testing_alone_completes_the_record_of_its_training(tmp_path, monkeypatch):
    boxes = []
    monkeypatch.setattr("mimtransfer.results.record_hook.closing_box", lambda *args, **how: boxes.append(how) or "")
    train(segmentation(tmp_path / "a"))
    first = read_record(tmp_path / "a/result.json")
    last = str(tmp_path / "a/epoch_4.pth")

    def test(work_dir, checkpoint, **fields):
        cfg = segmentation(work_dir)
        cfg = dict(cfg, load_from=checkpoint, randomness={"seed": 99}, **fields)
        runner = Runner.from_cfg(Config(cfg))
        runner.test()
        return runner

    test(tmp_path / "a", last, test_evaluator={"type": "RecordToyMetric", "score": 50.0})
    second = read_record(tmp_path / "a/result.json")
    assert second["mode"] == "test" and second["metrics"]["miou"]["value"] == 50.0
    for key in ("run_id", "seed", "init", "label", "cost", "schedule", "started_at", "git", "command"):
        assert second[key] == first[key], key
    assert (second["evaluated"]["on"], second["evaluated"]["iter"]) == ("test", 12)
    assert second["evaluated"]["versions"] == first["versions"]

    # The same evaluation elsewhere has the same protocol, and what the checkpoint carried of the cost.
    test(tmp_path / "b", last)
    third = read_record(tmp_path / "b/result.json")
    assert third["protocol"] == first["protocol"] and third["run_id"] == first["run_id"]
    assert 0 < third["cost"]["wall_s"] < first["cost"]["wall_s"] and third["cost"]["device"] is None

    # On other data it has another protocol, and a record in the log folder; the training cost what it did.
    runner = test(tmp_path / "a", last, protocol="another, tested on other data")
    other = json.loads((tmp_path / "a" / runner.timestamp / "result.json").read_text())
    assert other["cost"] == first["cost"]
    assert [box["of_training"] for box in boxes] == [False, True, True, True]

    # An earlier checkpoint is another protocol and replaces nothing.
    runner = test(tmp_path / "a", str(tmp_path / "a/epoch_2.pth"))
    assert read_record(tmp_path / "a/result.json") == second
    early = json.loads((tmp_path / "a" / runner.timestamp / "result.json").read_text())
    assert early["protocol"]["config"]["evaluated_weights"] == "not the last" and early["evaluated"]["iter"] == 6


def test_a_foreign_checkpoint_of_the_whole_model(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"backbone.weight": torch.zeros(1, 3), "backbone.bias": torch.zeros(1)}, path)
    train(dict(segmentation(tmp_path / "a"), load_from=str(path)))
    record = read_record(tmp_path / "a/result.json")
    assert record["label"] == "foreign" and record["init"]["kind"] == "checkpoint"
    assert record["init"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    runner = Runner.from_cfg(Config(dict(segmentation(tmp_path / "b"), load_from=str(path))))
    runner.test()
    record = read_record(tmp_path / "b/result.json")
    assert record["label"] == "foreign" and record["init"] == {"kind": "unknown", "path": str(path)}


def test_an_initialisation_without_report_is_not_called_random(tmp_path):
    train(segmentation(tmp_path / "a", backbone={"init_cfg": {"type": "Pretrained", "checkpoint": "hub://resnet"}}))
    init = read_record(tmp_path / "a/result.json")["init"]
    assert (init["kind"], init["path"], init["sha256"], init["matched"]) == ("checkpoint", "hub://resnet", None, None)


def test_the_hook_reads_the_task_before_it_trains(tmp_path):
    cfg = segmentation(tmp_path / "a")
    del cfg["model"]["decode_head"]
    with pytest.raises(ValueError, match="RecordHook cannot tell the task"):
        train(cfg)
    assert not list((tmp_path / "a").glob("*.pth"))


def test_registered_for_every_scope():
    assert isinstance(HOOKS.build({"type": "mimtransfer.RecordHook", "label": "x"}), RecordHook)
