"""Warnings before a transfer: lr and length against the recipe, input normalisation against the pretraining."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mimtransfer.checks.recipe import normalisation_warning, recipe_of, recipe_warnings, run_of
from mimtransfer.cli import launch
from mimtransfer.results.description import normalisation_of

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def config(**options):
    cfg = Config(dict(
        train_dataloader=dict(batch_size=4),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-4)),
        train_cfg=dict(max_iters=1000),
        auto_scale_lr=dict(enable=True, base_batch_size=64),
    ))
    cfg.merge_from_dict(options)
    return cfg


def warnings(processes, **options):
    recipe, cfg = recipe_of(config()), config(**options)
    launch.count_accumulation(cfg)
    return recipe_warnings(recipe, run_of(cfg, processes))


def test_the_recipe_itself_is_silent():
    assert recipe_of(config()) == (1e-4, 64, 1000, "iters")
    assert warnings(16) == [] and warnings(8, **{"train_dataloader.batch_size": 8}) == []


def test_accumulation_with_more_iterations_is_silent():
    assert warnings(4, **{"optim_wrapper.accumulative_counts": 4, "train_cfg.max_iters": 4000}) == []


def test_a_small_batch_scales_the_lr_but_sees_few_images():
    (line,) = warnings(1)
    assert line.startswith("the run sees 0.0625 times the images of the recipe (1000 iters of batch 4")
    assert "train_cfg.max_iters=16000" in line
    assert warnings(1, **{"train_cfg.max_iters": 16000}) == []


def test_an_lr_that_was_not_scaled():
    lr, _ = warnings(1, **{"auto_scale_lr.enable": False})
    assert lr.startswith("lr 0.0001 at batch 4: the recipe is lr 0.0001 at batch 64, by the linear rule 6.25e-06 here")
    assert "optim_wrapper.optimizer.lr=6.25e-06 and auto_scale_lr.enable=False" in lr
    fixed = {"auto_scale_lr.enable": False, "optim_wrapper.optimizer.lr": 6.25e-6, "train_cfg.max_iters": 16000}
    assert warnings(1, **fixed) == []


def test_an_lr_that_an_option_changed():
    (line,) = warnings(16, **{"optim_wrapper.optimizer.lr": 2e-4})
    assert line.startswith("lr 0.0002 at batch 64")


def test_without_a_base_batch_the_recipe_is_one_process_and_epochs_count_as_they_are():
    cfg = config()
    cfg.auto_scale_lr = None
    cfg.train_cfg = dict(max_epochs=12)
    recipe = recipe_of(cfg)
    assert recipe == (1e-4, 4, 12, "epochs")
    (line,) = recipe_warnings(recipe, run_of(cfg, 8))
    assert "by the linear rule 0.0008 here" in line
    half = Config(cfg.to_dict())
    half.train_cfg.max_epochs = 6
    (line,) = recipe_warnings(recipe, run_of(half, 1))
    assert "0.5 times" in line and "train_cfg.max_epochs=12" in line


def runner(scope, swap_name="_channel_conversion", swap=True, mean=MEAN):
    preprocessor = nn.Module()
    setattr(preprocessor, swap_name, swap)
    preprocessor.mean = torch.tensor(mean).view(-1, 1, 1)
    preprocessor.std = torch.tensor(STD).view(-1, 1, 1)
    model = nn.Module()
    model.data_preprocessor = preprocessor
    return SimpleNamespace(model=model, cfg=Config(dict(default_scope=scope)))


@pytest.mark.parametrize("scope, name, swap, channels", [
    ("mmdet", "_channel_conversion", True, "rgb"),
    ("mmseg", "channel_conversion", True, "rgb"),
    ("mmseg", "channel_conversion", False, "bgr"),
    ("mimtransfer", "_channel_conversion", False, "rgb"),
])
def test_normalisation_of_a_model(scope, name, swap, channels):
    assert normalisation_of(runner(scope, name, swap)) == {"mean": MEAN, "std": STD, "channels": channels}


def report(source="mimtransfer pretraining (encoder.*)", **normalisation):
    signed = {"normalisation": {"mean": MEAN, "std": STD, "channels": "rgb", **normalisation}} if normalisation else {}
    return SimpleNamespace(source=source, pretraining=signed)


def test_normalisations_are_compared():
    own = {"mean": MEAN, "std": STD, "channels": "rgb"}
    assert normalisation_warning(report(mean=MEAN), own) is None
    assert normalisation_warning(report(), own) is None  # signed by an older version: nothing is known
    assert normalisation_warning(report("official MAE (encoder and decoder)"), own) is None
    assert "std [58.395, 57.12, 57.375] here, [68.501" in normalisation_warning(report("OpenAI CLIP"), own)
    assert "channels RGB here, BGR there" in normalisation_warning(report(channels="bgr"), own)
    half = {"mean": [127.5] * 3, "std": [127.5] * 3, "channels": "rgb"}
    assert "mean [127.5, 127.5, 127.5] here, [123.675" in normalisation_warning(report("official SimMIM"), half)
