"""OnlineEvaluationHook leaves a training as it is, bit for bit, and its scores are those of their definitions."""
import random

import numpy as np
import pytest
import torch
from coloured_classes import paint_classes
from mmengine.hooks import Hook
from noise_images import make_images
from shipped_configs import load
from torch import nn

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.results.record import read_record
from mimtransfer.training.safeguards import set_safeguards
from pretrain.hooks.online_evaluation import OnlineEvaluationHook
from pretrain.runner import build_runner

CLASSES = {"blue": (40, 60, 160), "green": (50, 150, 60), "red": (160, 60, 50)}
CNN = dict(type="TimmCNN", arch="test_resnet", img_size=32)
METHODS = {
    "MAE": lambda model: dict(model, encoder=dict(model["encoder"], drop_path_rate=0.3)),
    "MFM of a CNN": lambda model: dict(type="MFM", encoder=CNN, corruption=dict(type="FrequencyMasking", radius=3),
                                       data_preprocessor=model["data_preprocessor"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    make_images(folder / "unlabelled", 8, (40, 40))
    paint_classes(folder, CLASSES, 60)
    return folder


def online(folder, **options):
    """The hook's config: transforms that draw from torch's generator, all numbers small."""
    loaders = {name: dict(batch_size=5, num_workers=0, dataset=dict(
        type="ClassFolder", root=str(folder / "images" / split),
        transform=[dict(type="RandomHorizontalFlip"), dict(type="RandomCrop", size=32)]))
        for name, split in (("memory_dataloader", "train"), ("test_dataloader", "test"))}
    linear = dict(lrs=(1.0, 10.0), weight_decays=(0.0,), optimizer=dict(type="LARS"), epochs=3, warmup_epochs=1,
                  batch_size=8, held_out=0.25)
    return {"type": "OnlineEvaluationHook", **loaders, "knn": dict(k=3), "linear": linear, "fast": 0.3, "full": 0.5,
            "fast_images": (9, 6), "budget": None, **options}


class States(Hook):
    """Note the generators and the modes of all modules around what the others do at the ends of epochs."""

    def __init__(self, priority):
        self.priority, self.seen = priority, []

    def after_train_epoch(self, runner):
        modes = [part.training for part in runner.model.modules()]
        self.seen.append((random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), modes))


def runner_of(folder, work_dir, method="MAE", hooks=(), resume=None):
    """Two iterations an epoch, four epochs."""
    cfg = load("debug/mae_vit-debug_2e_folder.py")
    cfg.model = METHODS[method](cfg.model)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.root = str(folder / "unlabelled")
    cfg.train_cfg.max_epochs = cfg.param_scheduler[0].end = cfg.param_scheduler[0].T_max = 4
    cfg.default_hooks.checkpoint.max_keep_ckpts = 4
    cfg.custom_hooks = [*(hook for hook in cfg.custom_hooks if hook.type != "ReconstructionHook"), *hooks]
    cfg.work_dir = str(work_dir)
    launch.enter_scope(cfg)
    launch.set_resume(cfg, resume)
    set_safeguards(cfg)
    return build_runner(cfg)


def differing(first, second, key):
    """Return what is not bit-equal in two checkpoints: weights, statistics, or the optimizer's state."""
    pairs = zip(*(flat(read_checkpoint(path)[key]) for path in (first, second)), strict=True)
    return [name for (name, one), (other, two) in pairs if name != other or not torch.equal(one, two)]


def flat(node, name=""):
    if isinstance(node, torch.Tensor):
        return [(name, node)]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return [leaf for key, item in items for leaf in flat(item, f"{name}.{key}")]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_the_hook_is_the_run_without_it_bit_for_bit(method, folder, tmp_path):
    runner_of(folder, tmp_path / "without", method).train()
    runner = runner_of(folder, tmp_path / "with", method, [online(folder)])
    before, after = States("ABOVE_NORMAL"), States("LOW")
    runner.register_hook(before)
    runner.register_hook(after)
    runner.train()
    assert before.seen == after.seen and len(after.seen) == 4
    scored = {name: history.data[0].size for name, history in runner.message_hub.log_scalars.items()
              if name.startswith("online/")}
    assert scored["online/seconds"] == scored["online/fast_knn_top1"] == 4 and scored["online/linear_top1"] == 2
    if method != "MAE":
        assert any(isinstance(part, nn.BatchNorm2d) for part in runner.model.modules())
    # Resumed with the hook, by a run that had none, and the other way round.
    resumed = [("later", [online(folder)], "without"), ("never", [], "with")]
    for name, hooks, origin in resumed:
        runner_of(folder, tmp_path / name, method, hooks, str(tmp_path / origin / "epoch_2.pth")).train()
    for name in ("with", "later", "never"):
        for key in ("state_dict", "optimizer"):
            first = tmp_path / "without" / "epoch_4.pth"
            assert len(flat(read_checkpoint(first)[key])) > 10
            assert differing(first, tmp_path / name / "epoch_4.pth", key) == []
    records = [read_record(tmp_path / name / "result.json") for name in ("without", "with", "later")]
    assert records[0]["protocol"] == records[1]["protocol"] and "online_evaluation" not in records[0]["cost"]
    assert [record["cost"]["online_evaluation"]["passes"] for record in records[1:]] == [4, 2]
    assert set(records[0]["curves"]) == {"loss"}
    spent = records[1]["cost"]["online_evaluation"]
    assert 0 < spent["seconds"] < records[1]["cost"]["wall_s"] and 0 < spent["share"] < 1


class Damage(Hook):
    """Make the encoder say the same of every image, as from the third epoch on."""

    priority = "ABOVE_NORMAL"

    def after_train_epoch(self, runner):
        if runner.epoch >= 2:
            nn.init.zeros_(runner.model.encoder.norm.weight)
            nn.init.ones_(runner.model.encoder.norm.bias)


def test_constant_features_raise_one_alarm(folder, tmp_path):
    runner = runner_of(folder, tmp_path, hooks=[online(folder, fast=0.25, full=None)])
    runner.register_hook(Damage())
    runner.train()
    log = next(tmp_path.glob("*/*.log")).read_text()
    alarms = [line for line in log.splitlines() if "WARNING - OnlineEvaluationHook" in line]
    assert len(alarms) == 1 and "after 3 epochs the features have collapsed" in alarms[0]
    curves = read_record(tmp_path / "result.json")["curves"]
    for name in ("online_image_contrast", "online_patch_contrast"):
        assert [value < 1e-3 for _, value in curves[name]] == [False] * 3 + [True] * 2
    assert [step for step, _ in curves["online_rankme"]] == [0, 2, 4, 6, 8]
    assert curves["online_rankme"][-1][1] == pytest.approx(1, abs=1e-3)
    nn.init.constant_(runner.model.encoder.norm.bias, float("nan"))
    scored = next(hook for hook in runner.hooks if isinstance(hook, OnlineEvaluationHook))
    runner.train_loop._epoch = 3  # as in the last epoch
    scored.after_train_epoch(runner)
    assert "after 4 epochs the features are not finite" in next(tmp_path.glob("*/*.log")).read_text()


@pytest.mark.parametrize(("options", "message"), [
    (dict(fast_images=(9,)), "fast_images"),
    (dict(fast_images=(2, 6)), "got k=3 and a memory of 2 images"),
    (dict(knn=dict(kk=3)), "knn has kk; expected k, temperature"),
    (dict(pooling="mena"), "pooling='mena'"),
    (dict(linear=dict(lrs=(), weight_decays=(0.0,), optimizer=dict(type="LARS"))), "OnlineEvaluationHook: got lrs="),
])
def test_mistakes_are_named_before_the_training(options, message, folder, tmp_path):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        runner_of(folder, tmp_path, hooks=[online(folder, **options)]).train()
    assert not list(tmp_path.glob("*.pth"))
