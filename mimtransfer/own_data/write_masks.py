"""Write masks as index maps and lists that mmseg reads, whatever the images are called."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.converted import OwnData, Split, begin_manifest
from mimtransfer.own_data.found import UNSEEN_TURN, image_size
from mimtransfer.own_data.masks import IGNORED, Masked, Table, read_mask, same_size
from mimtransfer.own_data.splits import below, check_apart, said, validation_images


def write_masks(
    found: dict[str, list[Masked]], table: Table | None, source: str, out: str, share: float, seed: int
) -> OwnData:
    """Write an index map for each image, `masks/IMAGE.png`, and a list of images for each split.

    Without a table the classes are numbered up to the largest value, and named by their numbers.

    Args:
        found: split -> images with masks.

    Raises:
        UserError: a mask is broken, of another size than its image, or all hold 0 and 255 only.
    """
    splits, split_by = dict(found), "given"
    if "val" not in splits and "test" in splits:
        splits["val"] = splits["test"]
    check_apart({split: (masked.image for masked in members) for split, members in splits.items()}, source)
    every = list(dict.fromkeys(masked for members in splits.values() for masked in members))
    root = osp.commonpath([osp.dirname(masked.image) for masked in every])
    values: dict[Masked, list[int]] = {}
    unseen = 0
    begin_manifest(out, source)
    for masked in every:
        size = image_size(masked.image)
        unseen += size.turns_unseen
        labels = same_size(read_mask(masked.mask, table), masked, size)
        values[masked] = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist()
        write_map(labels, osp.join(out, "masks", below(masked.image, root) + ".png"))
    classes = _numbered(values, source) if table is None else table.classes
    if table is not None and table.values is None and table.colours is None and len(classes) > 1:
        _check_labels(values, source)
    notes = _notes(values, classes)
    notes += [f"{unseen} {UNSEEN_TURN}"] if unseen else []
    if "val" not in splits:
        members = splits["train"]
        counts = np.zeros((len(members), 256), dtype=np.int32)
        for row, masked in zip(counts, members):
            row[values[masked]] = 1
        chosen = validation_images(counts[:, : len(classes)], [below(each.image, root) for each in members], share,
                                   seed)
        splits["train"] = [masked for k, masked in enumerate(members) if k not in chosen]
        splits["val"] = [members[k] for k in sorted(chosen)]
        split_by = said(share, seed)
    os.makedirs(osp.join(out, "lists"), exist_ok=True)
    written: dict[str, Split] = {}
    for split in ("train", "val", "test"):
        if split in splits:
            names = [below(masked.image, root) for masked in splits[split]]
            write_atomically(osp.join(out, "lists", f"{split}.txt"), "".join(f"{name}\n" for name in names))
            written[split] = Split(root, "masks", len(names), names=f"lists/{split}.txt")
    return OwnData("segmentation", "masks", source, out, classes, False, split_by, written, notes)


def write_map(labels: np.ndarray, path: str) -> None:
    """Write an index map, [H, W] uint8, as a PNG file where there is none of this content."""
    os.makedirs(osp.dirname(path), exist_ok=True)
    content = BytesIO()
    Image.fromarray(labels).save(content, format="png")
    if osp.isfile(path):  # of an earlier start, or of another process of this one
        with open(path, "rb") as file:
            if file.read() == content.getvalue():
                return
    write_atomically(path, content.getvalue())


def _check_labels(values: dict[Masked, list[int]], source: str) -> list[int]:
    """Return the class numbers in masks without a table; refuse those of one class, and of one object that is
    255.
    """
    every = sorted({value for found in values.values() for value in found})
    labels = [value for value in every if value != IGNORED]
    if every == [0]:
        raise UserError(f"{source}: the masks hold 0 only: one class is nothing to learn; save them with a number for "
                        "each class, from 0")
    if labels in ([], [0]):
        raise UserError(f"{source}: the masks hold {' and '.join(map(str, every))} only, and 255 stands for no label; "
                        "save them with 1 in place of 255, or say what the values are by tools/convert_data.py --table "
                        "FILE with the lines 'background: 0' and 'object: 255'")
    return labels


def _numbered(values: dict[Masked, list[int]], source: str) -> tuple[str, ...]:
    labels = _check_labels(values, source)
    if len(labels) <= max(labels) // 2:
        raise UserError(f"{source}: the masks hold {', '.join(map(str, labels[:8]))}, {len(labels)} values up to "
                        f"{max(labels)}: class numbers have no such gaps; say what each value is by "
                        "tools/convert_data.py --table FILE with lines 'name: 3'")
    return tuple(f"class {number}" for number in range(max(labels) + 1))


def _notes(values: dict[Masked, list[int]], classes: Sequence[str]) -> list[str]:
    seen = {value for found in values.values() for value in found}
    absent = [name for number, name in enumerate(classes) if number not in seen]
    notes = [f"no pixel is of {', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}"] if absent else []
    if classes[0] == "class 0":
        notes.append("nothing names the classes: write classes.txt beside the images, a name a line")
    return notes
