"""Tell what a path holds: COCO, VOC, YOLO, images and masks, class folders, or what `tools/convert_data.py` wrote."""
from __future__ import annotations

import os
import os.path as osp

from mimtransfer.datasets.tree import walk
from mimtransfer.errors import UserError, near_files
from mimtransfer.own_data.class_sets import find_class_folders, only_class
from mimtransfer.own_data.coco import find_jsons
from mimtransfer.own_data.converted import MANIFEST
from mimtransfer.own_data.masks import find_masks
from mimtransfer.own_data.yolo import find_yaml

KNOWN = {
    "detection": "a COCO json or a folder of them, Pascal VOC (Annotations/*.xml), YOLO (data.yaml)",
    "segmentation": "images and masks (images/ and masks/, each with train and val, or not; Pascal VOC's "
                    "SegmentationClass)",
    "classification": "a folder of images for each class, below train and val, or not",
}
# a part of a data set, which someone may give for all of it; other folders above are not searched, they may be large
_PARTS = ("images", "jpegimages", "annotations", "labels", "train", "val")


def recognise(path: str, task: str | None = None) -> tuple[str, str]:
    """Return (task, format) of what lies at a path.

    Args:
        task: detection, segmentation or classification; None: the first that fits.

    Returns:
        format: coco, voc, yolo, masks, folders, or converted; the task of `converted` is given or "".

    Raises:
        UserError: nothing is there, or nothing that is known.
    """
    if not osp.exists(path):
        raise UserError(f"data {path!r} are not there{near_files(path).replace(';', ',')}; give a folder or a file")
    if osp.isfile(path):
        ending = osp.splitext(path)[1].lower()
        if ending not in (".json", ".yaml", ".yml"):
            raise UserError(f"data {path!r} are a file of no known form; give a folder, a COCO json or a data.yaml of "
                            "YOLO")
        found = {"detection": "coco" if ending == ".json" else "yolo"}
    elif osp.isfile(osp.join(path, MANIFEST)):
        return task or "", "converted"
    else:
        found = _kinds_of(path, task)
    if not found:
        every = "; ".join(f"{name}: {what}" for name, what in KNOWN.items() if task in (None, name))
        hint = _above(path, task) or _alone(path, task) or f"expected {every}"
        raise UserError(f"data {path!r} are of no known form; {hint}")
    if task is None:
        return next(iter(found.items()))
    if task not in found:
        other, form = next(iter(found.items()))
        raise UserError(f"data {path!r} are {form} for {other}, but the config is of {task}; choose a config of "
                        f"{other}, or give {KNOWN[task]}")
    return task, found[task]


def _above(path: str, task: str | None) -> str:
    """Name the folder above where it is a data set: the user gave its `images`, `JPEGImages` or `train`."""
    above = osp.dirname(osp.normpath(path))
    if not above or not osp.basename(osp.normpath(path)).lower().startswith(_PARTS):
        return ""
    try:
        found = _kinds_of(above, task)
    except UserError:  # broken, or none
        return ""
    return f"did you mean {above!r} ({found[task or next(iter(found))]})?" if found and task in (None, *found) else ""


def _alone(path: str, task: str | None) -> str:
    """Name the one class folder of data that would be classification if there were two."""
    name = None if osp.isfile(path) or task not in (None, "classification") else only_class(path)
    return "" if name is None or name.lower() in _PARTS else (
        f"it holds one class folder, {name!r}, and one class is no classification; add a folder of images for each "
        "other class")


def _kinds_of(folder: str, task: str | None) -> dict[str, str]:
    """Return task -> format of a folder, the likeliest task first; masks are paired where they may be wanted."""
    found: dict[str, str] = {}
    files = walk(folder).files
    xml = any(name.lower().endswith(b".xml") for name in files)
    labels = any(name.endswith(b".txt") and b"labels" in name.split(b"/")[:-1] for name in files)
    if find_jsons(folder):
        found["detection"] = "coco"
    elif xml:
        found["detection"] = "voc"
    elif find_yaml(folder) or labels or _has_listed_classes(folder):
        found["detection"] = "yolo"
    if (task != "detection" or not found) and find_masks(folder):
        found["segmentation"] = "masks"
    if not found and find_class_folders(folder):
        found["classification"] = "folders"
    return found


def _has_listed_classes(folder: str) -> bool:
    """Say whether images, their labels and `classes.txt` lie in one folder, as LabelImg writes them."""
    names = os.listdir(folder)
    return "classes.txt" in names and sum(name.endswith(".txt") for name in names) > 1
