"""A schedule that is counted in iterations, brought to the batch of a run: as many images, whatever the batch.

Warm-up, milestones, evaluations and checkpoints of a recipe come after a number of images. A config counts them in
iterations of the recipe's batch, as mmengine has it; a run with another batch takes more or fewer iterations for them.
"""
from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from mmengine.config import Config

from mimtransfer.training.batch import Batch, accumulation_of, batch_of

# A config that has this key as True counts its iterations in the recipe's batch.
SWITCH = "auto_scale_iters"
COUNTS = ("begin", "end", "T_max", "step_size", "total_steps")  # of mmengine's schedulers
LISTS = ("milestones", "periods")


def rescale_schedule(cfg: Config, shipped: Config, processes: int, options: Collection[str] = ()) -> list[str]:
    """Count the schedule of `cfg` in iterations of the run's batch, when the config has `auto_scale_iters=True`.

    The recipe's batch is `auto_scale_lr.base_batch_size` images a step where the lr is scaled, or else the config's own
    batch on one process. Counts are rounded to whole steps of the optimizer. Where the batch is the recipe's, nothing
    changes.

    Args:
        cfg: with options; changed in place. Before `launch.count_accumulation`, which changes the base batch size.
        shipped: the same config without options.
        processes: that train.
        options: `KEY=VALUE` of the command line. Counts that they name stay as they are.

    Returns:
        Lines for the log.
    """
    if not cfg.get(SWITCH) or cfg.get("train_cfg") is None:
        return []
    cfg[SWITCH] = False  # what mmengine writes into the work dir is counted in the run's batch
    recipe = recipe_images(shipped)
    batch = batch_of(cfg, processes)
    if recipe == batch.images:
        return []
    return _Rescaling(recipe, batch, [option.partition("=")[0] for option in options]).apply(cfg)


def recipe_batch(shipped: Config) -> float:
    """Return the images of a step for which a config as shipped is written."""
    scale = shipped.get("auto_scale_lr") or {}
    if scale.get("base_batch_size") and (scale.get("enable") or not _inherits_its_base(shipped)):
        return scale["base_batch_size"]
    return batch_of(shipped, 1).images_of_step


def recipe_images(shipped: Config) -> float:
    """Return the images of an iteration in which a config with `auto_scale_iters` counts."""
    return recipe_batch(shipped) / accumulation_of(shipped)


def _inherits_its_base(shipped: Config) -> bool:
    """Say whether the file itself switches the scaling off and leaves the base batch size to one of its bases.

    The lr that such a file states is for its own batch. mmdet's and mmseg's configs are otherwise: they name the batch
    of their lr beside `enable=False`.
    """
    statements = re.findall(r"^auto_scale_lr\s*=\s*(.*(?:\n[ \t)].*)*)", shipped.text or "", flags=re.MULTILINE)
    return bool(statements) and "base_batch_size" not in statements[-1]


class _Rescaling:
    """From iterations of `recipe` images to those of `batch`; what `by_hand` names stays."""

    def __init__(self, recipe: float, batch: Batch, by_hand: Collection[str]) -> None:
        self.recipe, self.batch, self.by_hand = recipe, batch, by_hand
        self.kept: list[str] = []

    def apply(self, cfg: Config) -> list[str]:
        train, before = cfg.train_cfg, cfg.train_cfg.get("max_iters")
        if before is not None:
            self._set_loop(train)
        for path, scheduler in schedulers(cfg.get("param_scheduler")):
            if not scheduler.get("by_epoch", True):
                self._set_scheduler(scheduler, path)
        for path, hook in hooks(cfg):
            if str(hook.get("type")).endswith("CheckpointHook") and not hook.get("by_epoch", True):
                for key in ("interval", "save_begin"):
                    self._set(hook, key, path)
        length = "" if before is None else f": {before} become {train.max_iters}"
        lines = [f"The recipe counts iterations of {self.recipe:g} images, here an iteration has {self.batch.images} "
                 f"({self.batch}){length}; warm-up, milestones, evaluations and checkpoints likewise"]
        if self.kept:
            lines.append(f"Not scaled, since the command line sets them: {', '.join(self.kept)}")
        return lines

    def count(self, value: int) -> int:
        """Return as many images in iterations of the run, whole steps of the optimizer."""
        if value <= 0:  # the start, or mmengine's "never"
            return value
        steps = round(value * self.recipe / self.batch.images_of_step)
        return max(steps, 1) * self.batch.accumulation

    def _set_loop(self, train: dict) -> None:
        interval = train.get("val_interval")
        for key in ("max_iters", "val_interval"):
            self._set(train, key, "train_cfg")
        if train.get("val_begin", 1) > 1:
            self._set(train, "val_begin", "train_cfg")
        if train.get("dynamic_intervals") and not self._by_hand("train_cfg.dynamic_intervals"):
            # A milestone is the iteration after an evaluation, and has to stay that where intervals were rounded.
            now: Any = train.get("val_interval")
            ratio = now / interval if now != interval else self.recipe / self.batch.images
            train["dynamic_intervals"] = [
                (round((milestone - 1) * ratio) + 1, self.count(every))
                for milestone, every in train["dynamic_intervals"]
            ]

    def _set_scheduler(self, scheduler: dict, path: str) -> None:
        spans = scheduler.get("T_max") == scheduler.get("end", 0) - scheduler.get("begin", 0)
        for key in COUNTS:
            self._set(scheduler, key, path)
        for key in LISTS:
            if key in scheduler and not self._by_hand(f"{path}.{key}"):
                scheduler[key] = [self.count(value) for value in scheduler[key]]
        if str(scheduler.get("type")).startswith("Exponential") and not self._by_hand(f"{path}.gamma"):
            scheduler["gamma"] **= self.batch.images / self.recipe  # of each iteration
        if "end" in scheduler:
            # In one iteration mmengine stays at the beginning of a warm-up, and so would the whole run.
            least = 2 if str(scheduler.get("type")).endswith("LinearLR") and not self._by_hand(f"{path}.end") else 1
            scheduler["end"] = max(scheduler["end"], scheduler.get("begin", 0) + least)
        if spans and not self._by_hand(f"{path}.T_max"):  # each of the three was rounded
            scheduler["T_max"] = scheduler["end"] - scheduler.get("begin", 0)

    def _set(self, node: dict, key: str, path: str) -> None:
        if isinstance(node.get(key), int) and not self._by_hand(f"{path}.{key}"):
            node[key] = self.count(node[key])

    def _by_hand(self, path: str) -> bool:
        found = any(path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in self.by_hand)
        if found and path not in self.kept:
            self.kept.append(path)
        return found


def schedulers(node: Any, path: str = "param_scheduler") -> list[tuple[str, dict]]:
    """Return the schedulers with their dotted keys: one, a list, or one such for each of several optimizers."""
    if isinstance(node, dict) and "type" in node:
        return [(path, node)]
    children = node.items() if isinstance(node, dict) else enumerate(node or ())
    return [found for key, child in children for found in schedulers(child, f"{path}.{key}")]


def hooks(cfg: Config) -> list[tuple[str, dict]]:
    """Return the hooks with their dotted keys, those of the Runner first."""
    default = (cfg.get("default_hooks") or {}).items()
    found = [(f"default_hooks.{name}", hook) for name, hook in default]
    found += [(f"custom_hooks.{number}", hook) for number, hook in enumerate(cfg.get("custom_hooks") or ())]
    return [(path, hook) for path, hook in found if isinstance(hook, dict)]
