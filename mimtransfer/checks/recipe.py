"""Compare a transfer run with its recipe and its pretraining before the first step, and warn of what silently costs AP.

Published lrs hold for one batch size and one number of images seen; a backbone expects the input normalisation that it
was pretrained with. Neither mistake stops a run, so both are said aloud.
"""
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimtransfer.registry import HOOKS
from mimtransfer.results.description import normalisation_of
from mimtransfer.training.batch import accumulation_of, batch_of
from mimtransfer.training.rescale import recipe_batch

_IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
_CLIP = dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323])
# Input normalisation of published checkpoints, by words in the format's name. BEiT's and timm's differ from file to
# file, so nothing is said of them.
_PUBLISHED = {"CLIP": _CLIP, "MAE": _IMAGENET, "SimMIM": _IMAGENET, "MFM": _IMAGENET, "MaPeT": _IMAGENET,
              "DINO": _IMAGENET, "ViTDet": _IMAGENET, "SAM": _IMAGENET}
_TOLERANCE = 0.05


class Recipe(NamedTuple):
    """What decides lr and length of a training: of a config as shipped, or of a run."""

    lr: float | None
    batch: float  # images of one optimizer step, over all processes
    length: int | None
    unit: str  # of the length: "iters", of one step each, or "epochs"


def recipe_of(cfg: Config) -> Recipe:
    """Return the recipe of a config that no option has changed: its lr is meant for `recipe_batch` images.

    Called before `launch.count_accumulation`, which changes the base batch size.
    """
    return Recipe(_lr(cfg), recipe_batch(cfg), *_length(cfg))


def run_of(cfg: Config, processes: int) -> Recipe:
    """Return what a run of `cfg` does, `auto_scale_lr` applied.

    Called after `launch.count_accumulation`, as the Runner is.
    """
    batch, lr, scale = batch_of(cfg, processes), _lr(cfg), cfg.get("auto_scale_lr") or {}
    if lr is not None and scale.get("enable"):
        lr *= batch.images / scale["base_batch_size"]
    return Recipe(lr, batch.images_of_step, *_length(cfg))


def recipe_warnings(recipe: Recipe, run: Recipe) -> list[str]:
    """Say how a run departs from its recipe: lr by the linear rule (Goyal et al., 2017, arXiv 1706.02677), and images
    seen.
    """
    warnings = []
    if recipe.lr and run.lr:
        expected = recipe.lr * run.batch / recipe.batch
        if _differ(run.lr, expected):
            warnings.append(
                f"lr {run.lr:.3g} at batch {run.batch}: the recipe is lr {recipe.lr:.3g} at batch {recipe.batch}, by "
                f"the linear rule {expected:.3g} here; to follow it: "
                f"optim_wrapper.optimizer.lr={expected:.3g} and auto_scale_lr.enable=False"
            )
    if recipe.length and run.length and recipe.unit == run.unit:
        steps = run.unit == "iters"
        seen, meant = run.length * (run.batch if steps else 1), recipe.length * (recipe.batch if steps else 1)
        if _differ(seen, meant):
            key, length = ("max_iters", round(meant / run.batch)) if steps else ("max_epochs", recipe.length)
            warnings.append(
                f"the run sees {seen / meant:.3g} times the images of the recipe ({run.length} {run.unit} of batch "
                f"{run.batch}, the recipe {recipe.length} of {recipe.batch}). To follow it: "
                + ("auto_scale_iters=True, or " if steps else "")
                + f"train_cfg.{key}={length}, and param_scheduler to match (times accumulative_counts where gradients "
                "are accumulated)"
            )
    return warnings


def normalisation_warning(report: Any, own: Mapping[str, Any] | None) -> str | None:
    """Say how the input normalisation of a transfer differs from that of its pretraining; None when both agree or one
    is not known.

    Args:
        report: `LoadReport` of the backbone.
        own: as from `normalisation_of`.
    """
    known = (report.pretraining or {}).get("normalisation")
    if known is None:
        published = next((value for word, value in _PUBLISHED.items() if word in report.source), None)
        known = published and {**published, "channels": "rgb"}
    if known is None or own is None:
        return None
    differences = [
        f"{key} {_written(own[key])} here, {_written(known[key])} there"
        for key in ("channels", "mean", "std")
        if (own[key] != known[key] if key == "channels" else _far(own[key], known[key]))
    ]
    if not differences:
        return None
    return (f"input normalisation differs from that of the pretraining ({report.source}): {'; '.join(differences)}; "
            "set model.data_preprocessor to the pretraining's")


@HOOKS.register_module()
class TransferCheckHook(Hook):
    """Log, before the first step, where the run departs from the recipe and from the pretraining's normalisation.

    Args:
        recipe: of the config as shipped; None where the run follows none.
    """

    def __init__(self, recipe: Recipe | None) -> None:
        self.recipe = recipe

    def before_train(self, runner) -> None:
        """Warn."""
        warnings: list[str | None] = []
        if self.recipe is not None:
            warnings += recipe_warnings(self.recipe, run_of(runner.cfg, get_world_size()))
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        report = getattr(getattr(model, "backbone", None), "load_report", None)
        if report is not None:
            warnings.append(normalisation_warning(report, normalisation_of(runner)))
        for warning in filter(None, warnings):
            runner.logger.log(logging.WARNING, warning)


def _lr(cfg: Config) -> float | None:
    return ((cfg.get("optim_wrapper") or {}).get("optimizer") or {}).get("lr")


def _length(cfg: Config) -> tuple[int | None, str]:
    """Return epochs, or steps of the optimizer."""
    if cfg.train_cfg.get("max_epochs"):
        return cfg.train_cfg.max_epochs, "epochs"
    iters = cfg.train_cfg.get("max_iters")
    return iters and iters // accumulation_of(cfg), "iters"


def _differ(value: float, expected: float) -> bool:
    return abs(value / expected - 1) > _TOLERANCE


def _far(own: list[float], known: list[float]) -> bool:
    # Of 255; in other units of the files, of the same share of their largest mean.
    scale = max(1.0, *(abs(value) / 255 for value in known)) if max(map(abs, known)) > 255 else 1.0
    return len(own) != len(known) or max(abs(a - b) for a, b in zip(own, known)) > scale


def _written(value: Any) -> str:
    return value.upper() if isinstance(value, str) else "[" + ", ".join(f"{v:g}" for v in value) + "]"
