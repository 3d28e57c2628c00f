"""Look at the objects of a COCO json whose entries are sound: boxes, areas and masks that cannot be meant, and whether
anything is left to learn from or to score. Vectorised: COCO has 860,000.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from mimtransfer.checks import FAIL, WARN, Finding, counted
from mimtransfer.checks.image_files import spread
from mimtransfer.checks.left_out import left_out

_LARGE = 1e12  # no sum of coordinates is larger
_COMPARED = 2000  # polygons compared with their boxes
_DECODED = 500  # compressed RLEs decoded, up to a ms each
_WRONG_MASKS = {
    "none": "annotations without a segmentation, but the model learns masks",
    "kind": "annotations whose segmentation is neither a list of polygons nor RLE with size and counts",
    "first": "annotations that begin with polygons with fewer than 3 points",
    "short": "annotations that have polygons with fewer than 3 points",
    "odd": "annotations whose polygons have an odd number of coordinates",
    "text": "annotations whose polygons have coordinates that are no numbers",
    "size": "annotations with an RLE of another size than their image, or damaged",
}


def object_problems(
    coco: dict[str, Any], classes: tuple[str, ...], masks: bool, evaluated: bool, filter_cfg: dict[str, Any]
) -> Iterator[Finding]:
    """Yield what is wrong with the objects. Arguments as those of `coco_problems`."""
    annotations, images = coco["annotations"], coco["images"]
    ids = np.array([a["id"] for a in annotations], dtype=object)
    place = {im["id"]: k for k, im in enumerate(images)}
    sizes = np.array([(im["width"], im["height"]) for im in images], dtype=np.float64)
    of_image = np.array([place[a["image_id"]] for a in annotations])
    coordinates = chain.from_iterable(a["bbox"] for a in annotations)
    boxes = np.fromiter(coordinates, np.float64, 4 * len(annotations)).reshape(-1, 4)
    area = np.array([a["area"] for a in annotations], dtype=np.float64)
    crowd = np.array([bool(a.get("iscrowd")) for a in annotations])
    ignored = np.array([bool(a.get("ignore")) for a in annotations])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    wanted = {i for i, name in names.items() if not classes or name in classes}
    of_class = np.array([a["category_id"] in wanted for a in annotations])
    (x, y, w, h), (width, height) = boxes.T, sizes[of_image].T

    others = [names[annotations[k]["category_id"]] for k in np.flatnonzero(~of_class)]
    yield from counted(WARN, others, "annotations of categories outside the config's classes",
                       "they are ignored; add them to metainfo.classes if they should not be")
    if boxes.max() <= 1 and sizes.min() > 1:
        yield Finding(FAIL, f"all {len(boxes)} boxes lie within 0 to 1: they are fractions of the image",
                      "multiply them by the image's size: COCO boxes are x y width height in pixels")
        return
    extents, compared = _extents(annotations)
    if _are_corners(boxes, width, height) or _overlap(extents, boxes[compared], corners=True).mean() > 0.9:
        yield Finding(FAIL, f"the {len(boxes)} boxes are two corners x0 y0 x1 y1 each, as it seems: they end outside "
                      "their images or polygons else", "write x y width height")
        return
    empty = (w <= 0) | (h <= 0)
    yield from counted(WARN, list(ids[empty]), "boxes without area", "COCO boxes are x y width height, not two "
                       "corners; drop them: mmdet leaves them out of training, evaluation expects them to be found")
    outside = ~empty & ((x < -1) | (y < -1) | (x + w > width + 1) | (y + h > height + 1))
    yield from counted(WARN, list(ids[outside]), "boxes that end more than a pixel outside their image",
                       "check that boxes are x y width height in pixels of the image as stored, and the image's size")
    yield from _areas(ids, area, w * h, empty | crowd)

    usable = of_class & ~crowd & ~ignored & (area > 0) & (w >= 1) & (h >= 1)
    usable &= (np.minimum(x + w, width) > np.maximum(x, 0)) & (np.minimum(y + h, height) > np.maximum(y, 0))
    if masks:
        states = _mask_states(annotations, images, of_image)
        for state, says in _WRONG_MASKS.items():
            level = WARN if state == "short" or (state == "first" and not evaluated) else FAIL
            yield from counted(level, list(ids[states == state]), says,
                               "write polygons of at least 3 points as x0 y0 x1 y1 ... in pixels, or RLE of the "
                               "image's size; without masks use a detector without a mask head")
        usable &= (states == "") | (states == "short")
        apart = _overlap(extents, boxes[compared]) < 0.5
        if apart.mean() > 0.05:
            yield from counted(FAIL if apart.mean() > 0.5 else WARN, list(ids[compared][apart]),
                               "polygons that are not inside their box or do not fill it",
                               "write both in pixels of the image as stored")
    yield from _left_over(images, of_image, sizes, of_class, usable, {} if evaluated else filter_cfg)
    yield from _unused(coco, of_class, of_image, names, wanted)


def _areas(ids: np.ndarray, area: np.ndarray, box_area: np.ndarray, apart: np.ndarray) -> Iterator[Finding]:
    yield from counted(WARN, list(ids[area <= 0]), "annotations whose 'area' is not above 0",
                       "write the pixels of the object: mmdet leaves them out of training")
    told = ~apart & (area > 0)
    if told.any() and np.median(area[told] / box_area[told]) < 0.1:
        yield Finding(WARN, f"'area' is less than a tenth of the box for half of {told.sum()} annotations",
                      "write it in pixels: evaluation by size sorts the objects by it")
    if told.any() and np.median(area[told] / box_area[told]) > 2:
        yield Finding(WARN, f"'area' is more than twice the box for half of {told.sum()} annotations",
                      "write it in pixels of the image as stored: evaluation by size sorts the objects by it")


def _left_over(
    images: list[dict], of_image: np.ndarray, sizes: np.ndarray, of_class: np.ndarray, usable: np.ndarray, cfg: dict
) -> Iterator[Finding]:
    """Say what the data set's own filters leave out, which mmdet does not, and fail when they leave nothing."""
    kept = sizes.min(1) >= cfg.get("min_size", 0)
    if cfg.get("filter_empty_gt"):
        labelled = np.zeros(len(images), dtype=bool)
        labelled[of_image[of_class]] = True
        kept &= labelled
        empty = int((~labelled).sum())
    if not kept.any():
        small = int((sizes.min(1) < cfg.get("min_size", 0)).sum())
        why = f"{small} are smaller than min_size={cfg.get('min_size', 0)}"
        why += f", {empty} have no object of the classes" if cfg.get("filter_empty_gt") else ""
        yield Finding(FAIL, f"no usable object: filter_cfg leaves none of {len(images)} images ({why})",
                      "set filter_cfg of the data set to what the images allow")
    elif not usable[kept[of_image]].any():
        yield Finding(FAIL, f"no usable object among {len(usable)} annotations: those that are crowds, of other "
                      "classes, without area, below a pixel, outside the image or without a valid mask do not count",
                      "check iscrowd, area and bbox")
    elif said := left_out(images, {images[k]["id"] for k in set(of_image[of_class].tolist())}, cfg).in_words():
        yield Finding(WARN, said, f"{kept.sum()} are trained on")


def _unused(coco: dict, of_class: np.ndarray, of_image: np.ndarray, names: dict, wanted: set) -> Iterator[Finding]:
    labelled = set(of_image[of_class].tolist())
    bare = [im.get("file_name", im["id"]) for k, im in enumerate(coco["images"]) if k not in labelled]
    if len(bare) > len(coco["images"]) / 2:
        yield from counted(WARN, bare, "images without any object, more than half",
                           "right for LVIS-like data only; else check image_id of the annotations")
    seen = Counter(a["category_id"] for a in coco["annotations"])
    yield from counted(WARN, [names[i] for i in sorted(wanted) if i not in seen], "classes without one object",
                       "they cannot be learned from, nor scored on, this split")


def _are_corners(boxes: np.ndarray, width: np.ndarray, height: np.ndarray) -> bool:
    """Say whether boxes read as x y width height leave their images, and read as corners none does."""
    x, y, w, h = boxes.T
    inside = (x >= -1) & (y >= -1) & (w > x) & (h > y) & (w <= width + 1) & (h <= height + 1)
    outside = (x + w > width + 1) | (y + h > height + 1)
    return bool(inside.all() and outside.mean() > 0.05)


def _extents(annotations: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Return x0 y0 x1 y1 of the polygons of some annotations, [n, 4], and the numbers of these annotations, [n]."""
    extents, numbers = [], []
    for k in range(0, len(annotations), max(1, len(annotations) // _COMPARED)):
        polygons: Any = annotations[k].get("segmentation")
        usable = isinstance(polygons, list) and polygons and not _polygons_state(polygons)
        if usable and not annotations[k].get("iscrowd"):
            points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
            extents.append([*points.min(0), *points.max(0)])
            numbers.append(k)
    return np.array(extents, dtype=np.float64).reshape(-1, 4), np.array(numbers, dtype=np.int64)


def _overlap(extents: np.ndarray, boxes: np.ndarray, corners: bool = False) -> np.ndarray:
    """Return intersection over union of extents and boxes, a pixel added on each side; [1] zero where none is given.

    Args:
        corners: read the boxes as two corners, and return 0 where both readings are alike.
    """
    if len(extents) == 0:
        return np.zeros(1) if corners else np.ones(1)
    plain = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    iou = [_iou(extents, each) for each in (plain, boxes)]
    return np.where(iou[1] > iou[0] + 0.1, iou[1] > 0.8, 0.0) if corners else iou[0]


def _iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    shared = (np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2]) + 1).clip(0).prod(1)
    areas = [(each[:, 2:] - each[:, :2] + 1).clip(0).prod(1) for each in (first, second)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def _mask_states(annotations: list[dict], images: list[dict], of_image: np.ndarray) -> np.ndarray:
    """Return a key of `_WRONG_MASKS`, or "", for each annotation, [n] text."""
    masks = [a.get("segmentation") for a in annotations]
    # Nearly all are lists of polygons, and nearly always all of these are sound.
    look = [k for k, mask in enumerate(masks) if not mask or type(mask) is not list]
    if not _all_sound([mask for mask in masks if mask and type(mask) is list]):
        look = list(range(len(masks)))
    states = np.full(len(masks), "", dtype="<U5")
    texts = []
    for k in look:
        states[k] = _mask_state(masks[k], images[of_image[k]])
        if not states[k] and _is_text(masks[k]):
            texts.append(k)
    for k in spread(texts, _DECODED):
        states[k] = "" if _decodes(masks[k]) else "size"
    return states


def _all_sound(masks: list[list]) -> bool:
    """Say whether lists of polygons are sound, all of them, as `_polygons_state` says of one."""
    polygons = list(chain.from_iterable(masks))
    if set(map(type, polygons)) - {list}:
        return False
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    try:
        sums = np.fromiter(map(sum, polygons), np.float64, len(polygons))
    except (TypeError, OverflowError):
        return False
    return bool((lengths >= 6).all() and not (lengths % 2).any() and (np.abs(sums) < _LARGE).all())


def _mask_state(value: Any, image: dict[str, Any]) -> str:
    """Return a key of `_WRONG_MASKS`, or "" for a sound segmentation."""
    if not value:
        return "none"
    if isinstance(value, list):
        return _polygons_state(value)
    counts, size = (value.get("counts"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(counts, list | str) or not counts:
        return "kind"
    if size != [image["height"], image["width"]]:
        return "size"
    if isinstance(counts, list):
        sound = all(type(count) is int and count >= 0 for count in counts)
        return "" if sound and sum(counts) == size[0] * size[1] else "size"
    return ""


def _is_text(segmentation: Any) -> bool:
    return isinstance(segmentation, dict) and isinstance(segmentation["counts"], str)


def run_lengths(text: str) -> list[int]:
    """Return the runs that a compressed RLE of COCO stands for.

    A character is five bits of a number, the lowest first, and one that says whether more follow. From the third run
    on, the number is the difference from the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _decodes(rle: dict[str, Any]) -> bool:
    runs = run_lengths(rle["counts"])
    return sum(runs) == rle["size"][0] * rle["size"][1] and min(runs, default=-1) >= 0


def _polygons_state(polygons: list) -> str:
    shortest = 6
    for polygon in polygons:
        if type(polygon) is not list:
            return "kind"
        try:
            if not -_LARGE < sum(polygon) < _LARGE:  # not for NaN, either
                return "text"
        except TypeError:
            return "text"
        if len(polygon) % 2:
            return "odd"
        shortest = min(shortest, len(polygon))
    if shortest == 6:
        return ""
    return "first" if len(polygons[0]) < 6 else "short"
