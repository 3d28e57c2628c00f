"""Look into the annotations of a transfer config: what trains without an error and ruins the score.

`data_checks` refuses what cannot run; here are the quieter mistakes, counted, each with an example and how to mend it.
"""
from __future__ import annotations

import json
import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from mimtransfer.checks import FAIL, OK, WARN, Finding
from mimtransfer.datasets.configured import argument, classes_of, leaves


def check_annotations(cfg: Config, num_maps: int, splits: tuple[str, ...] = ("train", "val", "test")) -> list[Finding]:
    """Check ids, boxes, masks and sizes in COCO jsons, and the labels in index maps, of all data sets in a config.

    Args:
        num_maps: index maps and images opened of each data set, spread evenly.
    """
    findings: list[Finding] = []
    seen: list[str] = []
    check: Callable[..., Iterator[Finding]]
    masks = "mask_head" in str(cfg.get("model"))
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        for dataset in leaves(loader.dataset) if loader else ():
            root, where = dataset.get("data_root") or "", f"{split} data"
            if str(dataset.get("ann_file", "")).endswith(".json"):
                key, check = osp.join(root, dataset["ann_file"]), _check_coco
            elif (dataset.get("data_prefix") or {}).get("seg_map_path") is not None and not dataset.get("ann_file"):
                key, check = osp.join(root, dataset["data_prefix"]["seg_map_path"]), _check_maps
            else:
                continue
            if key not in seen:
                seen.append(key)
                findings += check(dataset, key, where, num_maps, masks)
    return findings


def coco_problems(coco: dict[str, Any], classes: tuple[str, ...], masks: bool) -> Iterator[Finding]:
    """Yield the mistakes in a COCO json, without opening an image.

    Args:
        coco: with `images`, `annotations`, `categories`.
        classes: of the config; all categories when empty.
        masks: whether the model learns masks.
    """
    images = {im["id"]: im for im in coco["images"]}
    categories = {category["id"]: category["name"] for category in coco["categories"]}
    wanted = {i for i, name in categories.items() if not classes or name in classes}
    for kind, level in (("images", FAIL), ("annotations", FAIL), ("categories", FAIL)):
        twice = [i for i, count in Counter(entry["id"] for entry in coco[kind]).items() if count > 1]
        yield from _some(level, twice, f"ids of {kind} that occur more than once",
                         "number them anew: evaluation matches by id and counts only one")
    zero = [annotation["id"] for annotation in coco["annotations"] if annotation["id"] == 0]
    yield from _some(FAIL, zero, "annotations with id 0",
                     "number from 1: pycocotools takes a match with id 0 for no match, and AP falls")
    annotations = [a for a in coco["annotations"] if a["image_id"] in images]
    yield from _some(FAIL, [a["id"] for a in coco["annotations"] if a["image_id"] not in images],
                     "annotations of images that are not listed", "add the images or drop the annotations")
    yield from _some(FAIL, [a["id"] for a in annotations if a["category_id"] not in categories],
                     "annotations of categories that are not listed", "add the categories, ids included")
    others = [categories[a["category_id"]] for a in annotations if a["category_id"] in categories.keys() - wanted]
    yield from _some(WARN, others, "annotations of categories outside the config's classes",
                     "they are ignored; add them to metainfo.classes if they should not be")
    empty = [a["id"] for a in annotations if min(a["bbox"][2:]) <= 0]
    yield from _some(WARN, empty, "boxes without area", "COCO boxes are x y width height, not two corners; drop them")
    outside = [a["id"] for a in annotations if a["id"] not in set(empty) and _outside(a["bbox"], images[a["image_id"]])]
    yield from _some(WARN, outside, "boxes that end more than a pixel outside their image",
                     "check that boxes are x y width height in pixels of the image as stored, and the image's size")
    if masks:
        yield from _some(FAIL, [a["id"] for a in annotations if not a.get("segmentation") and not a.get("iscrowd")],
                         "annotations without a segmentation, but the model learns masks",
                         "add polygons or RLE, or use a detector without a mask head")
    labelled = {a["image_id"] for a in annotations if a["category_id"] in wanted}
    bare = [im["file_name"] for i, im in images.items() if i not in labelled]
    if len(bare) > len(images) / 2:
        yield from _some(WARN, bare, "images without any object, more than half",
                         "right for LVIS-like data only; else check image_id of the annotations")
    names = {categories[a["category_id"]] for a in annotations if a["category_id"] in wanted}
    yield from _some(WARN, [categories[i] for i in sorted(wanted) if categories[i] not in names],
                     "classes without one object", "they cannot be learned from, nor scored on, this split")


def map_problems(values: set[int], num_classes: int, reduce_zero: bool, ignore: int, path: str) -> Iterator[Finding]:
    """Yield what is wrong with the set of values in index maps.

    Args:
        values: of all maps that were opened.
        ignore: index of pixels without a label.
        path: of the maps, for the message.
    """
    last = num_classes if reduce_zero else num_classes - 1
    high = sorted(value for value in values - {ignore, 255} if value > last)
    sense = f"({num_classes} classes, reduce_zero_label={reduce_zero})"
    yield from _some(FAIL, high, f"values above {last} in {path!r} {sense}",
                     "check num_classes and reduce_zero_label, or write the maps anew; a loss on such a label crashes "
                     "on a GPU")
    if reduce_zero and 0 not in values:
        yield Finding(WARN, f"no pixel is 0 in {path!r}, but reduce_zero_label=True takes 0 for 'no label'",
                      "with labels from 0 set reduce_zero_label=False, or each class is learned as the one before it")
    absent = sorted(set(range(1 if reduce_zero else 0, last + 1)) - values)
    if len(absent) == num_classes:
        yield Finding(FAIL, f"no pixel of {path!r} holds a label of the config",
                      "colours must be converted to class indices, 0 for the first class")


def _check_coco(dataset: dict, path: str, where: str, num_images: int, masks: bool) -> Iterator[Finding]:
    with open(path, encoding="utf-8") as file:
        coco = json.load(file)
    problems = list(coco_problems(coco, classes_of(dataset), masks))
    folder = osp.join(dataset.get("data_root") or "", (dataset.get("data_prefix") or {}).get("img", ""))
    problems += _sizes(coco["images"], folder, num_images)
    yield from (Finding(found.level, f"{where}, {path}: {found.what}", found.mend) for found in problems)
    if not problems:
        yield Finding(OK, f"{where}, {path}: {len(coco['images'])} images, {len(coco['annotations'])} annotations")


def _sizes(images: list[dict], folder: str, count: int) -> Iterator[Finding]:
    """Compare sizes in the json with those of some image files, turned as their EXIF data say, as mmcv turns them."""
    wrong, broken = [], []
    for entry in images[:: max(1, len(images) // count)]:
        try:
            with Image.open(osp.join(folder, entry["file_name"])) as image:
                image.load()
                turned = image.getexif().get(0x0112, 1) >= 5
                size = image.size[::-1] if turned else image.size
        except OSError as error:
            broken.append(f"{entry['file_name']} ({error})")
            continue
        said = (entry["width"], entry["height"])
        if size != said:
            wrong.append(f"{entry['file_name']} is {size[0]}x{size[1]}, the json says {said[0]}x{said[1]}")
    yield from _some(FAIL, broken, "images that cannot be read", "copy or download them again")
    yield from _some(FAIL, wrong, "images of another size than the json says",
                     "boxes would be off: scale the annotations or restore the images (EXIF rotation counts)")


def _check_maps(dataset: dict, path: str, where: str, num_maps: int, masks: bool) -> Iterator[Finding]:
    suffix, root = argument(dataset, "seg_map_suffix"), dataset.get("data_root") or ""
    images, image_suffix = osp.join(root, dataset["data_prefix"].get("img_path") or ""), argument(dataset, "img_suffix")
    maps = sorted(osp.join(at, name) for at, _, files in os.walk(path) for name in files if name.endswith(suffix))
    maps = maps[:: max(1, len(maps) // num_maps)]
    values, wrong = set(), []
    for name in maps:
        with Image.open(name) as picture:
            labels = np.asarray(picture)
        values |= set(np.unique(labels).tolist())
        image = osp.join(images, osp.relpath(name, path)[: -len(suffix)] + image_suffix)
        if osp.isfile(image):
            with Image.open(image) as picture:
                if picture.size != labels.shape[1::-1]:
                    wrong.append(f"{name} {labels.shape[1]}x{labels.shape[0]}, image {picture.width}x{picture.height}")
    reduce_zero, ignore = bool(argument(dataset, "reduce_zero_label")), dataset.get("ignore_index", 255)
    problems = list(map_problems(values, len(classes_of(dataset)), reduce_zero, ignore, path))
    problems += _some(FAIL, wrong, "index maps of another size than their image", "resize them (nearest neighbour)")
    yield from (Finding(found.level, f"{where}: {found.what}", found.mend) for found in problems)
    if not problems:
        yield Finding(OK, f"{where}, {path}: {len(maps)} index maps opened, values {min(values)} to {max(values)}")


def _outside(box: list[float], image: dict) -> bool:
    x, y, width, height = box
    return x < -1 or y < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1


def _some(level: str, cases: list, what: str, mend: str) -> Iterator[Finding]:
    if cases:
        shown = ", ".join(dict.fromkeys(map(str, cases[:50])))
        yield Finding(level, f"{len(cases)} {what}: {shown[:80]}{' ...' if len(shown) > 80 else ''}", mend)
