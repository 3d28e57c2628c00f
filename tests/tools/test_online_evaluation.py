"""tools/pretrain.py --online: the scores while pretraining are those of tools/test.py on its checkpoints."""
import json
from pathlib import Path

import pytest
from coloured_classes import call, paint_classes
from forked_tool import run_tool
from mmengine.config import Config
from own_tool import record
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS
from pretrain.hooks.online_config import set_online
from pretrain.hooks.online_evaluation import OnlineEvaluationHook

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
ENCODER = "arch='vit_tiny_patch16_224', patch_size=8, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3)"
FROZEN = """
_base_ = [{base!r}]
protocol = {name!r}
model = dict(backbone=dict({encoder}))
loader = dict(batch_size=5, num_workers=0)
test_cfg = dict({settings}, memory_dataloader=dict(dataset=dict(root='images/train', num_images=18), **loader))
test_dataloader = dict(dataset=dict(root='images/test'), **loader)
"""
PRETRAIN = f"""
_base_ = [{str(ROOT / "configs/debug/mae_vit-debug_2e_folder.py")!r}]
custom_hooks = [dict(type='SeedHook'), dict(type='RecordHook', label='MAE, colours')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='images/train'))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three classes, configs, and `mae`: a pretraining of two epochs that was scored three times."""
    folder = tmp_path_factory.mktemp("online")
    paint_classes(folder, CLASSES, 60)
    linear = "batch_size=8, epochs=6, warmup_epochs=1, held_out=0.25"
    for name, settings in {"knn": "k=4", "linear-sweep": linear}.items():
        base = str(ROOT / f"configs/classification/{name}_vit-tiny-p4_cifar10.py")
        (folder / f"{name}.py").write_text(FROZEN.format(base=base, name=name, encoder=ENCODER, settings=settings))
    (folder / "pretrain.py").write_text(PRETRAIN)
    call(folder, "pretrain", "pretrain.py", "--work-dir", "mae", "--online", "linear-sweep.py", "--cfg-options",
         "online.budget=None", "online.fast_images=[9,6]", "online.knn.k=4")
    return folder


def online(work_dir):
    """Return the lines of the JSON log that hold online scores."""
    lines = map(json.loads, next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines())
    return [line for line in lines if "online/rankme" in line]


def test_scores_are_those_of_the_checkpoints(folder):
    lines = online(folder / "mae")
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert [set(line) >= {"online/knn_top1", "online/linear_top1"} for line in lines] == [False, True, True]
    for epoch in (1, 2):
        for name, metric in (("knn", "knn_top1"), ("linear-sweep", "top1")):
            work_dir = f"{name}-{epoch}"
            call(folder, "test", f"{name}.py", "--pretrained", f"mae/epoch_{epoch}.pth", "--work-dir", work_dir)
            expected = record(folder / work_dir)["metrics"][metric]["value"]
            found = lines[epoch][f"online/{'knn' if name == 'knn' else 'linear'}_top1"]
            assert 100 / 3 < expected < 100 and found == pytest.approx(expected, abs=1e-6)
    assert len({line["online/rankme"] for line in lines}) == 3


def test_the_record_tensorboard_and_the_log_have_the_curves(folder):
    result = record(folder / "mae")
    names = {"knn_top1", "linear_top1", "fast_knn_top1", "rankme", "image_contrast", "patch_contrast"}
    assert set(result["curves"]) == {"loss", *(f"online_{name}" for name in names)}
    lines = online(folder / "mae")
    for name in ("rankme", "knn_top1"):
        curve = [[3 * line["step"], line[f"online/{name}"]] for line in lines if f"online/{name}" in line]
        assert result["curves"][f"online_{name}"] == [[step, pytest.approx(value, rel=1e-5)] for step, value in curve]
    assert result["cost"]["online_evaluation"]["passes"] == 3
    assert set(result["metrics"]) == {"loss"}  # a table compares trained models, whose protocol these have not
    events = EventAccumulator(str(next((folder / "mae").glob("*/vis_data"))))
    events.Reload()
    assert {f"online/{name}" for name in names} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("online/rankme")] == [0, 1, 2]
    log = next((folder / "mae").glob("*/*.log")).read_text()
    assert "OnlineEvaluationHook: 1 fast evaluations of 21 images and 2 full ones of 42, " in log
    assert log.count("online evaluation after ") == 3 and "% of the run's time" in log


def test_two_processes_share_the_images_and_have_the_same_scores(folder):
    """Of the checkpoint that one process has made, without training it: shares of 9 images."""
    text = PRETRAIN.replace("images/", f"{folder}/images/")
    text += "online = dict(knn=dict(k=4), budget=None, fast_images=(9, 5), fast=None)\n"
    (folder / "shared.py").write_text(text)
    (folder / "frozen.py").write_text((folder / "linear-sweep.py").read_text().replace("images/", f"{folder}/images/"))
    options = ["--work-dir", folder / "shared", "--launcher", "pytorch", "--online", folder / "frozen.py",
               "--cfg-options", f"load_from={folder}/mae/epoch_2.pth", "optim_wrapper.optimizer.lr=0.0",
               "auto_scale_lr.enable=False", "train_cfg.max_epochs=1", "env_cfg.dist_cfg.backend=gloo"]
    log = folder / "log"
    assert run_tool(log, folder / "shared.py", *options, processes=2, port=29583) == [0, 0], log.read_text()[-2000:]
    (found,), expected = online(folder / "shared"), online(folder / "mae")[2]
    for name in ("knn_top1", "linear_top1", "rankme"):
        assert found[f"online/{name}"] == pytest.approx(expected[f"online/{name}"], rel=1e-4)


def test_a_config_switches_it_on_too_and_a_budget_is_kept(folder):
    """By `online` of the config, with a config of k-NN; the probe has its defaults."""
    # 54 images (18 of them twice) of 24 that are trained; one evaluation is left, the fast one.
    (folder / "switched.py").write_text(PRETRAIN + "online = dict(config='knn.py', budget=2.5, fast_images=(18, 18))\n")
    call(folder, "pretrain", "switched.py", "--work-dir", "switched", "--cfg-options", "train_cfg.max_epochs=1")
    line, = online(folder / "switched")
    assert line["step"] == 1 and "online/knn_top1" not in line
    call(folder, "test", "knn.py", "--pretrained", "switched", "--work-dir", "knn-switched")
    expected = record(folder / "knn-switched")["metrics"]["knn_top1"]["value"]
    assert line["online/fast_knn_top1"] == pytest.approx(expected, abs=1e-6)
    log = next((folder / "switched").glob("*/*.log")).read_text()
    assert "asked for were 1 and 1, more than budget=2.5 allows" in log
    written = next((folder / "switched").glob("*/vis_data/config.py")).read_text()
    assert written.count("OnlineEvaluationHook") == 1 and "\nonline" not in written


@pytest.mark.parametrize(("args", "message"), [
    (["--online", "pretrain.py"], "--online pretrain.py: expected a config of frozen features"),
    (["--online", "kmn.py"], "kmn.py"),
    (["--online", "knn.py", "--cfg-options", "online.buget=0.1"], "did you mean 'budget'"),
    (["--online", "knn.py", "--cfg-options", "online.fast=2.0"], "got fast=2.0"),
    (["--online", "knn.py", "--cfg-options", "online.knn.k=2.5"], "got k=2.5"),
    (["--online", "knn.py", "--cfg-options", "online.knn.temperature=0"], "temperature=0; expected"),
    (["--cfg-options", "online.fast=0.1"], "online has fast but no config"),
])
def test_mistakes_give_one_line(args, message, folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(folder, "pretrain", "pretrain.py", "--work-dir", tmp_path, *args)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2 and len(lines) == 1 and message in lines[0]


@pytest.mark.parametrize(("source", "kind"), [("knn", "knn"), ("linear-sweep", "linear")])
def test_options_change_what_they_name_and_leave_the_rest_of_the_config(folder, monkeypatch, source, kind):
    monkeypatch.chdir(folder)
    options = dict(knn=dict(temperature=0.5), linear=dict(epochs=3), test_dataloader=dict(batch_size=2))
    hooks = []
    for online in ({}, options):
        cfg = Config(dict(online=online))
        set_online(cfg, f"{source}.py")
        hooks.append(HOOKS.build(cfg.custom_hooks[-1]))
    plain, changed = hooks
    assert changed.knn == {**plain.knn, "temperature": 0.5} and plain.knn["k"] == (4 if kind == "knn" else 20)
    assert changed.linear == {**plain.linear, "epochs": 3} and plain.linear["batch_size"] == (
        8 if kind == "linear" else 512)
    assert changed.loaders == (plain.loaders[0], {**plain.loaders[1], "batch_size": 2})


def test_a_hook_with_half_a_probe_is_refused():
    with pytest.raises(UserError, match="linear has no optimizer, weight_decays"):
        OnlineEvaluationHook({}, {}, linear=dict(lrs=(0.1,)))
