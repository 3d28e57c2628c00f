"""Every shipped classification and robustness config does one training step, where it trains, and one evaluation.

Layers are narrow; plain ViTs and ResNets see pictures of 64 pixels at most, in batches of two. In a sweep of linear
probes each setting does one step; three of the corruptions are tested.
"""
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator
from one_step import narrow, train_one_step
from shipped_configs import leaves, load, unique
from torch.utils.data import DataLoader

import mimtransfer  # noqa: F401
from mimtransfer.registry import LOOPS, MODELS

pytestmark = pytest.mark.usefixtures("quick_weights")
LEAVES = leaves("classification", "robustness")


def what_is_run(leaf):
    """Return what decides step and evaluation, for a few made-up pictures."""
    cfg = load(leaf)
    loop = {key: value for key, value in cfg.test_cfg.items() if key not in ("memory_dataloader", "batch_size")}
    return cfg.model.to_dict(), cfg.get("optim_wrapper"), loop, cfg.test_evaluator


class Pictures:
    """Random pictures, of classes that follow one another."""

    def __init__(self, number, size, num_classes):
        self.metainfo = dict(classes=[f"class {i}" for i in range(num_classes)])
        self.inputs = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return dict(inputs=self.inputs[i], label=i % len(self.metainfo["classes"]))


def evaluate(model, cfg, size, num_classes):
    """Test as tools/test.py does, by the loop of the config."""
    shown, memory = (DataLoader(Pictures(number, size, num_classes), 8) for number in (2, 24))
    runner = SimpleNamespace(
        model=model, cfg=cfg, seed=0, visualizer=SimpleNamespace(), call_hook=lambda *args, **kwargs: None,
        build_dataloader=lambda config, seed: memory,
    )  # fmt: skip
    loop = dict(cfg.test_cfg, type=cfg.test_cfg.get("type", "TestLoop"))
    if loop["type"] == "LinearSweepLoop":
        loop.update(epochs=1, warmup_epochs=0)
    if loop["type"] == "CorruptionLoop":
        loop.update(corruptions=("gaussian_noise", "fog", "jpeg_compression"))
    evaluator = Evaluator([dict(cfg.test_evaluator)])
    return LOOPS.build(dict(loop, runner=runner, dataloader=shown, evaluator=evaluator)).run()


@pytest.mark.parametrize("leaf", unique(LEAVES, what_is_run))
def test_one_training_step_and_one_evaluation(leaf):
    cfg = load(leaf)
    size = cfg.model.backbone.get("img_size", 224)
    if cfg.model.backbone.type != "TimmSwin":  # whose windows divide its own size
        size = min(size, 64)
    num_classes = cfg.model.get("num_classes", 1000 if "in1k" in leaf else 10)
    torch.manual_seed(0)
    narrow(cfg.model)
    model = MODELS.build(cfg.model)
    inputs = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    label = torch.arange(2)
    if "optim_wrapper" in cfg:
        train_one_step(model, cfg, dict(inputs=inputs, label=label))
    metrics = evaluate(model, cfg, size, num_classes)
    assert metrics and all(math.isfinite(value) for value in metrics.values())
    assert any(key.endswith("top1") for key in metrics)
