"""How many images a recipe trains on."""
from __future__ import annotations

import copy
import os
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS

from mimtransfer.datasets.configured import keeps_a_part, leaves
from mimtransfer.training.rescale import SWITCH, recipe_images

# Training images of published data sets, by a folder in the path that a config names.
PUBLISHED = {
    "imagenet": 1281167, "coco": 117266, "lvis": 99388, "ADEChallengeData2016": 20210, "cityscapes": 2975,
    "camvid": 367, "cifar10": 50000, "cifar100": 50000, "tiny-imagenet-200": 100000,
}  # fmt: skip


class Length(NamedTuple):
    """The length of a run."""

    images: float | None  # None: nobody knows how many an epoch has
    told: str  # how it comes about


def length_of(cfg: Config, shipped: Config, batch: int, accumulation: int, epoch: int | None = None) -> Length:
    """Return the images of a run.

    Args:
        cfg: with options.
        shipped: without, which says the batch of the recipe.
        batch: images of one step of the optimizer, on all GPUs.
        accumulation: iterations of one step.
        epoch: images of one epoch; None: they are looked up.
    """
    loop: Any = cfg.get("train_cfg") or {}
    iterations = loop.get("max_iters")
    if iterations is not None:
        if cfg.get(SWITCH):  # counted in the recipe's batch, and brought to that of the run
            per_iteration = recipe_images(shipped)
        else:
            per_iteration = batch / accumulation
        return Length(iterations * per_iteration, f"{iterations:,} iterations of {per_iteration:g} images")
    epochs = loop.get("max_epochs") or 1
    found = (epoch, "as given") if epoch is not None else images_of_epoch(cfg)
    if found is None:
        return Length(None, f"{epochs} epochs of a data set whose size is not known: give --images N")
    return Length(epochs * found[0], f"{epochs} epochs of {found[0]:,} images, {found[1]}")


def images_of_epoch(cfg: Config) -> tuple[int, str] | None:
    """Return the images of an epoch, and how they are known: counted here, or published; None where neither says."""
    dataset: Any = cfg.train_dataloader.get("dataset") or {}
    parts = list(leaves(dataset))
    if all(_is_here(part) for part in parts):
        return len(DATASETS.build(copy.deepcopy(dataset))), "counted here"
    names = [published_name(part) for part in parts]
    if None in names or keeps_a_part(dataset):
        return None
    times = dataset.get("times", 1) if str(dataset.get("type")).endswith("RepeatDataset") else 1
    return sum(PUBLISHED[str(name)] for name in names) * times, f"the published {', '.join(map(str, names))}"


def published_name(part: dict) -> str | None:
    """Return which of `PUBLISHED` a data set is, by the folder that its config names; None for another."""
    folders = str(part.get("root") or part.get("data_root") or "").split("/")
    return next((name for name in PUBLISHED if name in folders), None)


def _is_here(part: dict) -> bool:
    root = part.get("root") or part.get("data_root")
    return isinstance(root, str) and os.path.isdir(os.path.join(root, part.get("ann_file", "").rpartition("/")[0]))
