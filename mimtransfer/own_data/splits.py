"""Split one set of labelled images into train and val: by names, labels and a seed alone, so alike on any machine.

Splits that were given are held against each other.
"""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mimtransfer.datasets.label_order import stratified_order
from mimtransfer.errors import UserError

VAL_SHARE = 0.2


def validation_images(counts: np.ndarray, names: Sequence[str], share: float, seed: int) -> set[int]:
    """Return the numbers of the images that are put aside for validation; each class has its share of them.

    A class with a single image keeps it for training.

    Args:
        counts: [N, C] int, objects (or whether any pixels) of each class in each image.
        names: of the images below their folder, with `/`.
        share: of all images, in (0, 1).
        seed: of the draw.

    Raises:
        UserError: a share outside (0, 1), or fewer than two images.
    """
    if not 0 < share < 1:
        raise UserError(f"the share of the validation images is {share!r}, expected a number in (0, 1), 0.2 for 20 %")
    if len(names) < 2:
        raise UserError(f"{len(names)} labelled image cannot be split into train and val; add images")
    number = min(max(1, round(share * len(names))), len(names) - 1)
    trained = set(stratified_order(counts, names, seed, len(names) - number).tolist())
    return set(range(len(names))) - trained


def keep_tested(splits: dict[str, Any]) -> str:
    """Leave of the splits of a data set the one that is tested: test, else val, else a single set as test.

    Returns:
        its name before.
    """
    name = next(name for name in ("test", "val", "train") if splits.get(name))
    members = splits[name]
    splits.clear()
    splits["val" if name == "val" else "test"] = members
    return name


def said(share: float, seed: int) -> str:
    """Word how a single set was split."""
    return f"seed {seed}, {100 * share:g} % for val"


def below(path: str, root: str) -> str:
    """Return a path relative to a folder above it, with `/`: alike on any machine."""
    return osp.relpath(path, root).replace(os.sep, "/")


def check_apart(splits: Mapping[str, Iterable[str]], where: str) -> None:
    """Refuse images that are trained on and evaluated: their score is that of images learned by heart.

    Args:
        splits: train, val, test -> paths of images; links count as what they point to.
        where: begins the message.

    Raises:
        UserError: there is such an image.
    """
    trained = set(map(osp.realpath, splits.get("train", ())))
    for split in ("val", "test"):
        shared = [path for path in splits.get(split, ()) if osp.realpath(path) in trained]
        if shared:
            raise UserError(f"{where}: {len(shared)} images are in 'train' and in {split!r}, the first is "
                            f"{shared[0]!r}; give each image to one of them")
