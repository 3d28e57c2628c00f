"""Did a pipeline learn its few images by heart, and when not, what is the most likely cause."""
from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mimtransfer.checks import overfit

_SUSPECTS = (
    "look at the pictures in vis_data, at the lr groups and the load report above, then at num_classes, the order of "
    "the categories, reduce_zero_label, and box sizes after the resize"
)
_FALLEN = 0.7  # of the first loss: a pipeline that learns by heart ends far below
_NOTHING = 0.02  # a share of the goal that is as good as none
_CLIMBS = 0.05  # of the goal, since the evaluation before
_IGNORED = 255


class Evidence(NamedTuple):
    """What a run that missed its goal leaves behind."""

    scores: list[float]  # of the goal's metric, one for each evaluation, as shares of the goal
    sizes: dict[str, float]  # "small", "medium", "large" -> AP, of those that there are
    losses: list[float]  # one for each logged iteration
    labels: str | None  # what is wrong with them
    not_optimised: list[str]  # parameters that need a gradient and are in no lr group, or in one with lr 0
    lr: float


def verdict(runner: Runner, note: str = "") -> tuple[bool, str]:
    """Say whether the run learned its images by heart, and what is the most likely cause when it did not.

    Args:
        note: as `set_overfit` returns it.
    """
    metric, goal, name = overfit.GOALS[runner.cfg.default_scope]
    scores = _scalars(runner, f"val/{metric}")
    score, scale = scores[-1] if scores else math.nan, 100 if goal <= 1 else 1
    text = f"{name} {score * scale:.1f} on the {len(runner.train_dataloader.dataset)} images it was trained on"
    text += f" after {runner.iter} iterations"
    behind = f"; {note}" if note else ""
    if score >= goal:
        return True, f"overfit: passed: {text} (goal {goal * scale:.0f}){behind}"
    cause = likely_cause(gather(runner, [score / goal for score in scores]))
    return False, f"overfit: FAILED: {text}, expected {goal * scale:.0f}; {cause}{behind}"


def likely_cause(seen: Evidence) -> str:
    """Name the most likely cause of a goal that was missed: what is certain first, then what is only likely."""
    if seen.labels:
        return f"most likely: {seen.labels}"
    if seen.not_optimised:
        return (f"most likely: {len(seen.not_optimised)} parameters are in no lr group, or in one with lr 0, the first "
                f"is {seen.not_optimised[0]!r}: look at paramwise_cfg and frozen layers")
    first, last = _ends(seen.losses)
    if first is not None and last is not None and not last < _FALLEN * first:
        way = "too high" if not last <= 1.05 * first else "too low, or too high, or there are too few iterations"
        return (f"most likely: the loss does not fall ({first:.3g} at first, {last:.3g} at last): lr {seen.lr:.3g} is "
                f"{way}; set optim_wrapper.optimizer.lr or --overfit-iters")
    large = [value for size, value in seen.sizes.items() if size != "small"]
    by_size = ", ".join(f"{size} {100 * value:.1f}" for size, value in seen.sizes.items())
    if "small" in seen.sizes and large and min(large) >= 0.5 and seen.sizes["small"] < min(large) / 2:
        return (f"most likely: only small objects are not learned (box AP: {by_size}): the pipeline works; raise "
                "--overfit-iters or the scale of the images")
    if not seen.scores or not seen.scores[-1] >= _NOTHING:
        return ("most likely: the loss falls and the score stays at nothing, so training and evaluation disagree: the "
                f"order of the categories, box format and scale, reduce_zero_label; {_SUSPECTS}")
    if len(seen.scores) > 1 and seen.scores[-1] - seen.scores[-2] > _CLIMBS:
        return "most likely: too few iterations, for the score still climbs: raise --overfit-iters, or the lr"
    return (f"box AP by size: {by_size}; " if by_size else "") + _SUSPECTS


def gather(runner: Runner, scores: list[float]) -> Evidence:
    """Collect the evidence of a run that is over."""
    found: Any = {size: _scalars(runner, f"val/coco/bbox_mAP_{size[0]}") for size in ("small", "medium", "large")}
    model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
    groups = runner.optim_wrapper.optimizer.param_groups
    # The schedule has ended at 0: what counts is where it began.
    optimised = {id(p) for group in groups if group.get("initial_lr", group["lr"]) > 0 for p in group["params"]}
    return Evidence(
        scores=scores,
        sizes={size: values[-1] for size, values in found.items() if values and values[-1] >= 0},  # -1: there are none
        losses=_scalars(runner, "train/loss"),
        labels=next(_wrong_labels(runner.train_dataloader.dataset, _num_classes(model)), None),
        not_optimised=[name for name, p in model.named_parameters() if p.requires_grad and id(p) not in optimised],
        lr=max(group.get("initial_lr", group["lr"]) for group in groups),
    )


def _scalars(runner: Runner, name: str) -> list[float]:
    buffer = runner.message_hub.log_scalars.get(name)
    return [] if buffer is None else [float(value) for value in buffer.data[0]]


def _ends(losses: list[float]) -> tuple[float | None, float | None]:
    """Return the mean of the first and of the last tenth."""
    tenth = len(losses) // 10
    if tenth == 0:
        return None, None
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def _num_classes(model: nn.Module) -> int | None:
    """Return the number of classes of the heads, where they agree."""
    heads = [module for name, module in model.named_modules() if re.search(r"\b(bbox|decode)_head(\.\d+)?$", name)]
    numbers = {module.num_classes for module in heads if isinstance(getattr(module, "num_classes", None), int)}
    return numbers.pop() if len(numbers) == 1 else None


def _wrong_labels(dataset: Any, num_classes: int | None) -> Iterator[str]:
    """Look at the labels as the model gets them."""
    labelled = False
    for k in range(len(dataset)):
        sample = dataset[k]["data_samples"]
        labels = sample.gt_instances.labels if "gt_instances" in sample else sample.gt_sem_seg.data
        labels = labels[labels != _IGNORED] if "gt_sem_seg" in sample else labels
        labelled = labelled or len(labels) > 0
        if num_classes is not None and len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
            yield (f"labels {int(labels.min())} to {int(labels.max())} in an image, but the model has {num_classes} "
                   "classes: correct num_classes, metainfo.classes or reduce_zero_label")
    if not labelled:
        yield "no image has a label behind the pipeline: look at its crops, and at reduce_zero_label"
