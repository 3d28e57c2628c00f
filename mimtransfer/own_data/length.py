"""Another number of epochs for a config: the loop, warm-up, milestones, evaluations, checkpoints and maps follow."""
from __future__ import annotations

import math
from typing import Any

from mmengine.config import Config

from mimtransfer.datasets.configured import leaves, name_of
from mimtransfer.errors import UserError
from mimtransfer.planning.schedule import PUBLISHED, published_name
from mimtransfer.training.batch import batch_of
from mimtransfer.training.rescale import COUNTS, LISTS, SWITCH, hooks, recipe_images, schedulers

_WARMUP = 1 / 20  # of the run at least, where the recipe's own is not shorter


def set_batch(cfg: Config, batch: int) -> None:
    """Set the images of one process in one iteration. The lr and the schedule follow by the recipe's rule.

    Raises:
        UserError: fewer than 1, or the config trains nothing.
    """
    if batch < 1:
        raise UserError(f"--batch {batch}: expected 1 or more images")
    _loop(cfg, "--batch")
    cfg.train_dataloader.batch_size = batch


def set_epochs(cfg: Config, shipped: Config, epochs: int, images: int | None, processes: int) -> None:
    """Let a training last so many epochs.

    A schedule in iterations is counted in the recipe's batch where it says so (`auto_scale_iters`), as in the config.

    Args:
        shipped: the config without any option.
        images: of an epoch; needed where the config counts iterations.

    Raises:
        UserError: fewer than 1 epoch, the config trains nothing, or nobody knows the images of an epoch.
    """
    if epochs < 1:
        raise UserError(f"--epochs {epochs}: expected 1 or more")
    loop = _loop(cfg, "--epochs")
    if loop.get("max_epochs") is not None:
        _stretch(cfg, loop["max_epochs"], epochs, by_epoch=True)
        return
    if images is None:
        raise UserError("--epochs: the config counts iterations, and nothing says how many images an epoch has; give "
                        "the data by --data, or set train_cfg.max_iters by --cfg-options")
    _stretch(cfg, loop["max_iters"], max(1, round(epochs * images / _per_iteration(cfg, shipped, processes))), False)


def keep_epochs(cfg: Config, shipped: Config, images: int) -> str | None:
    """Let a schedule in iterations see other data as often as the published data set that it is written for.

    Args:
        images: of an epoch of the other data; `cfg` has them already.

    Returns:
        what was done, in one line; None where the schedule counts epochs.
    """
    loop: Any = cfg.get("train_cfg") or {}
    if loop.get("max_iters") is None:
        return None
    published = _published(shipped)
    per_iteration = _per_iteration(cfg, shipped, 1)
    epochs = loop["max_iters"] * per_iteration / images
    if published is None:
        return f"{loop['max_iters']} iterations are {epochs:.3g} epochs of these {images} images (--epochs N: others)"
    epochs = loop["max_iters"] * per_iteration / published
    _stretch(cfg, loop["max_iters"], max(1, round(loop["max_iters"] * images / published)), False)
    return (f"{epochs:.3g} epochs, as of the {published:,} images of the recipe: {loop['max_iters']} iterations of "
            f"{per_iteration:g} images (--epochs N for others)")


def _loop(cfg: Config, option: str) -> Any:
    if cfg.get("train_cfg") is None or cfg.get("train_dataloader") is None:
        raise UserError(f"{option}: this config trains nothing; leave it out")
    return cfg.train_cfg


def _per_iteration(cfg: Config, shipped: Config, processes: int) -> float:
    return recipe_images(shipped) if cfg.get(SWITCH) else batch_of(cfg, processes).images


def _published(shipped: Config) -> int | None:
    """Return the training images of the data set that a config names, where it is a published one."""
    names = [published_name(part) for part in leaves(shipped.train_dataloader.dataset)]
    return PUBLISHED[names[0]] if len(names) == 1 and names[0] is not None else None


def _stretch(cfg: Config, before: int, after: int, by_epoch: bool) -> None:
    """Bring all counts from a run of `before` iterations, or epochs, to one of `after`."""
    loop, ratio = cfg.train_cfg, after / before
    steps = [step for _, step in schedulers(cfg.get("param_scheduler")) if step.get("by_epoch", True) is by_epoch]
    first = next((step for step in steps if step.get("begin", 0) == 0 and 0 < step.get("end", 0) < before
                  and name_of(step).startswith(("LinearLR", "ConstantLR", "LinearParam"))), None)
    warmup = 0 if first is None else first["end"]
    # In one iteration mmengine stays at the beginning of a warm-up, and so would the whole run.
    least = 1 if by_epoch else 2
    brought = min(warmup, max(round(warmup * ratio), math.ceil(after * _WARMUP), least), after - 1)
    brought = brought if brought >= least else 0

    def count(value: int) -> int:
        if value <= 0:
            return value
        if value == warmup:
            return brought
        return after if value == before else min(max(round(value * ratio), brought + 1, 1), after)

    for step in steps:
        spans = step.get("T_max") == step.get("end", before) - step.get("begin", 0)
        for key in COUNTS:
            if type(step.get(key)) is int:
                step[key] = count(step[key])
        for key in LISTS:
            if key in step:
                step[key] = [count(value) for value in step[key]]
        if spans and "T_max" in step:
            step["T_max"] = step.get("end", after) - step.get("begin", 0)
        if name_of(step).startswith("Exponential"):
            step["gamma"] **= 1 / ratio
    if first is not None and brought < 1:
        cfg.param_scheduler = [step for step in cfg.param_scheduler if step is not first]
    loop["max_epochs" if by_epoch else "max_iters"] = after
    for key in ("val_interval", "val_begin"):
        if type(loop.get(key)) is int:
            loop[key] = max(1, min(round(loop[key] * ratio) if not by_epoch else loop[key], after))
    if loop.get("dynamic_intervals"):  # one more evaluation at the end
        interval = loop["val_interval"]
        loop["dynamic_intervals"] = [(after // interval * interval + 1, after)]
    for _, hook in hooks(cfg):
        _set_hook(hook, ratio, after, by_epoch)


def _set_hook(hook: Any, ratio: float, after: int, by_epoch: bool) -> None:
    """Bring the counts of checkpoints, and of maps, which are measured after epochs."""
    kind = name_of(hook)
    if kind.endswith("CheckpointHook") and hook.get("by_epoch", True) is by_epoch and "interval" in hook:
        hook["interval"] = max(1, min(hook["interval"] if by_epoch else round(hook["interval"] * ratio), after))
        if hook.get("save_begin", 0) > 0:
            hook["save_begin"] = min(round(hook["save_begin"] * ratio), after)
    if kind == "MapBankHook" and by_epoch:
        for key, least in (("begin", 0), ("interval", 1)):
            if type(hook.get(key)) is int:
                hook[key] = max(least, round(hook[key] * ratio))
