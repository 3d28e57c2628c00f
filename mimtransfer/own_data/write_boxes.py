"""Write boxes as COCO jsons: of VOC and YOLO, and of a single COCO json that is split."""
from __future__ import annotations

import json
import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.coco import CocoFile, FoundCoco
from mimtransfer.own_data.converted import OwnData, Split, begin_manifest
from mimtransfer.own_data.found import FoundBoxes, LabelledImage
from mimtransfer.own_data.splits import below, check_apart, said, validation_images
from mimtransfer.own_data.yolo import polygon_area


def write_boxes(found: FoundBoxes, source: str, out: str, share: float, seed: int) -> OwnData:
    """Write one COCO json for each split; of a single set, train and val.

    Ids of images and annotations count from 1 over all splits, those of categories are the class numbers plus 1.

    Returns:
        what was written, without `data.json`.
    """
    _check_objects(found, source)
    splits, split_by = dict(found.splits), "given"
    check_apart({split: (image.path for image in images) for split, images in splits.items()}, source)
    if "val" not in splits and "test" in splits:
        splits["val"] = splits["test"]
    if "val" not in splits:
        images = splits["train"]
        counts = np.zeros((len(images), len(found.classes)), dtype=np.int32)
        for row, image in zip(counts, images):
            np.add.at(row, [marked.label for marked in image.objects if not marked.ignored], 1)
        names = [below(image.path, found.root) for image in images]
        chosen = validation_images(counts, names, share, seed)
        splits["train"] = [image for k, image in enumerate(images) if k not in chosen]
        splits["val"] = [images[k] for k in sorted(chosen)]
        split_by = said(share, seed)
    masks = found.masks
    written: dict[str, Split] = {}
    first_image = first_object = 1
    begin_manifest(out, source)
    for split in ("train", "val", "test"):
        if split in splits:
            coco = _coco(splits[split], found, masks, first_image, first_object)
            first_image += len(coco["images"])
            first_object += len(coco["annotations"])
            written[split] = _write(out, split, coco, found.root)
    notes = [f"{count} {note}" for note, count in found.notes.items()]
    ignored = sum(marked.ignored for images in splits.values() for image in images for marked in image.objects)
    notes += [f"{ignored} difficult objects are neither learned nor scored (iscrowd 1)"] if ignored else []
    return OwnData("detection", found.source, source, out, found.classes, masks, split_by, written, notes)


def _check_objects(found: FoundBoxes, source: str) -> None:
    """Refuse a set without objects to train on, or to evaluate on; a test set may have its labels withheld.

    Raises:
        UserError: such a set.
    """
    for split, images in found.splits.items():
        if any(image.objects for image in images) or (split == "test" and len(found.splits) > 1):
            continue
        file = {"yolo": "label file", "voc": "XML"}[found.source]
        raise UserError(f"{source}: no {file} of {len(images)} images of {split!r} has a box; draw some, or look "
                        "whether the files of labels are the right ones")


def write_coco(found: FoundCoco, source: str, out: str, share: float, seed: int) -> OwnData:
    """Point to jsons that are split already; write train and val of a single one, with annotations numbered anew.

    Returns:
        as `write_boxes`.
    """
    files, split_by = dict(found.splits), "given"
    splits: dict[str, Split]
    if "val" not in files and "test" in files:
        files["val"] = files["test"]
    if "val" in files:
        splits = {split: _counted(files[split].content, files[split].path, files[split].images)
                  for split in ("train", "val", "test") if split in files}
    else:
        whole = files["train"]
        parts = _parts(whole, found.classes, share, seed)
        begin_manifest(out, source)
        splits = {split: _write(out, split, coco, whole.images) for split, coco in parts.items()}
        split_by = said(share, seed)
    return OwnData("detection", "coco", source, out, found.classes, found.masks, split_by, splits)


def _parts(whole: CocoFile, classes: Sequence[str], share: float, seed: int) -> dict[str, dict[str, Any]]:
    images, annotations = whole.content["images"], whole.content["annotations"]
    place = {entry["id"]: k for k, entry in enumerate(images)}
    labels = {entry["id"]: classes.index(entry["name"]) for entry in whole.content["categories"]
              if entry["name"] in classes}
    counts = np.zeros((len(images), len(classes)), dtype=np.int32)
    for entry in annotations:
        if not entry.get("iscrowd") and entry["category_id"] in labels:
            counts[place[entry["image_id"]], labels[entry["category_id"]]] += 1
    chosen = validation_images(counts, [entry["file_name"] for entry in images], share, seed)
    numbered = [{"iscrowd": 0, **entry, "id": number} for number, entry in enumerate(annotations, 1)]
    parts = {}
    for split, wanted in (("train", False), ("val", True)):
        members = [entry for k, entry in enumerate(images) if (k in chosen) is wanted]
        ids = {entry["id"] for entry in members}
        inside = [entry for entry in numbered if entry["image_id"] in ids]
        parts[split] = {**whole.content, "images": members, "annotations": inside}
    return parts


def _coco(
    images: Sequence[LabelledImage], found: FoundBoxes, masks: bool, first_image: int, first_object: int
) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, first_image):
        for marked in image.objects:
            area = marked.box[2] * marked.box[3]
            entry = {"id": first_object + len(annotations), "image_id": image_id, "category_id": marked.label + 1,
                     "bbox": list(marked.box), "area": area, "iscrowd": int(marked.ignored)}
            if masks and marked.polygon is not None:
                entry |= {"segmentation": [list(marked.polygon)], "area": polygon_area(marked.polygon)}
            annotations.append(entry)
    return {
        "images": [{"id": number, "file_name": below(image.path, found.root), "width": image.width,
                    "height": image.height} for number, image in enumerate(images, first_image)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(found.classes, 1)],
    }


def _write(out: str, split: str, coco: dict[str, Any], images: str) -> Split:
    name = f"annotations/{split}.json"
    os.makedirs(osp.join(out, "annotations"), exist_ok=True)
    write_atomically(osp.join(out, name), json.dumps(coco) + "\n")
    return _counted(coco, name, images)


def _counted(coco: dict[str, Any], name: str, images: str) -> Split:
    per_image = Counter(entry["image_id"] for entry in coco["annotations"])
    number = len(coco["images"])
    return Split(images, name, number, len(coco["annotations"]), number - len(per_image))
