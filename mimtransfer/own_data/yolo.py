"""Read a data set of YOLO: `data.yaml`, images, and a text file for each image with an object a line.

A line is `class x y width height`, the centre and the size of a box, or `class x0 y0 x1 y1 x2 y2 ...`, a polygon; all
are fractions of the image as viewers show it. An image without a file of labels has no objects.
"""
from __future__ import annotations

import math
import os
import os.path as osp
from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml

from mimtransfer.datasets.tree import printable, walk
from mimtransfer.errors import UserError
from mimtransfer.own_data.found import (
    IMAGE_ENDINGS,
    SPLIT_NAMES,
    FoundBoxes,
    LabelledImage,
    LabelledObject,
    clipped,
    image_size,
    split_of,
)
from mimtransfer.own_data.names import check_names, read_names
from mimtransfer.stored import read_text

_LISTS = ("classes.txt", "obj.names", "labels.txt")
_LARGEST = 1 << 20  # bytes of a data.yaml
_FIX = "write names, train and val as YOLO has them"


def find_yaml(folder: str) -> str | None:
    """Return the yaml of a folder that names classes and images, None where there is none."""
    names = sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")))
    names.sort(key=lambda name: osp.splitext(name)[0] not in ("data", "dataset"))
    for name in names:
        try:
            loaded = _load(osp.join(folder, name))
        except UserError:
            if osp.splitext(name)[0] in ("data", "dataset"):
                raise
            continue
        if isinstance(loaded, dict) and "names" in loaded and any(key in loaded for key in SPLIT_NAMES):
            return osp.join(folder, name)
    return None


def read_yolo(path: str, tested: bool = False) -> FoundBoxes:
    """Read all labels of a data set.

    Args:
        path: `data.yaml`, or a folder that holds it, or one of images with labels and `classes.txt`.
        tested: they are for a test alone, so none need be named as train.

    Raises:
        UserError: a file is broken, names a class that is not there, or a place outside of its image.
    """
    notes: Counter[str] = Counter()
    yaml_path = find_yaml(path) if osp.isdir(path) else path
    if yaml_path is None:
        classes, images = _listed_classes(path), {"train": _images_in(path)}
        images = _by_folder(images["train"], tested)
    else:
        classes, images = _read_yaml(yaml_path, tested)
    every = [image for found in images.values() for image in found]
    if not every:
        raise UserError(f"{yaml_path or path}: no image in what it names; {_FIX}")
    labels = {image: _labels_of(image) for image in every}
    twice = [name for name, count in Counter(labels.values()).items() if count > 1]
    if twice:
        both = [image for image, name in labels.items() if name == twice[0]]
        raise UserError(f"{twice[0]}: the labels of two images, {osp.basename(both[0])!r} and "
                        f"{osp.basename(both[1])!r}; rename or remove one of them")
    if not any(osp.isfile(name) for name in labels.values()):
        first = next(iter(labels.values()))
        raise UserError(f"{yaml_path or path}: not one of {len(every)} images has labels, {first!r} is not there; put "
                        "them into a folder 'labels' beside 'images', under the names of the images")
    splits = {split: [_read_image(image, labels[image], classes, notes) for image in found]
              for split, found in images.items() if found}
    root = osp.commonpath([osp.dirname(image) for image in every])
    found = FoundBoxes("yolo", root, classes, splits, notes)
    polygons = sum(obj.polygon is not None for images in splits.values() for im in images for obj in im.objects)
    if polygons and not found.masks:
        notes["objects have a polygon and others only a box: no masks are learned"] = polygons
    return found


class _Loader(yaml.SafeLoader):
    """Reads YAML without a key that occurs twice, whose aliases stand for plain values.

    Of two equal keys PyYAML takes the last, which moves classes; a few lines of lists of lists unfold to gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias and not isinstance(node, yaml.ScalarNode):
            raise yaml.YAMLError("an alias of a list or a mapping, which no data.yaml needs: write it out")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0][:60]!r} occurs twice: keep one")
        return super().construct_mapping(node, deep)


def _load(path: str) -> Any:
    try:
        return yaml.load(read_text(path, _FIX, _LARGEST), _Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: no valid YAML ({' '.join(str(error).split())[:200]}); {_FIX}") from None


def _read_yaml(path: str, tested: bool) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    loaded = _load(path)
    if not isinstance(loaded, dict) or "names" not in loaded:
        raise UserError(f"{path}: has no 'names' of classes; {_FIX}")
    if "kpt_shape" in loaded:
        raise UserError(f"{path}: is of poses (kpt_shape); detectors learn boxes and masks: write those alone")
    names = loaded["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(f"{path}: 'names' has the numbers {sorted(names, key=str)[:5]}, expected 0 to "
                            f"{len(names) - 1}; number the classes from 0 without gaps")
        names = [names[number] for number in range(len(names))]
    classes = check_names(names, path)
    if loaded.get("nc", len(classes)) != len(classes):
        raise UserError(f"{path}: nc is {loaded['nc']!r}, but 'names' has {len(classes)} classes; make them equal")
    base = osp.dirname(osp.abspath(path))
    images: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        places = loaded.get(split) or []
        places = [places] if isinstance(places, str) else places
        if not isinstance(places, list) or not all(isinstance(place, str) and place for place in places):
            raise UserError(f"{path}: {split!r} is {places!r}, expected a folder, a list file, or several")
        found = [image for place in places for image in _images_at(place, loaded.get("path"), base, path, split)]
        images[split] = sorted(dict.fromkeys(found))
    if not images["train"] and not tested:
        raise UserError(f"{path}: names no images as 'train'; {_FIX}")
    return classes, _without_copies(images)


def _without_copies(images: dict[str, list[str]]) -> dict[str, list[str]]:
    """Let a split that lists the same images as one before it, as examples of YOLO do, be none."""
    if images["val"] == images["train"]:
        images["val"] = []
    if images["test"] in (images["train"], images["val"]):
        images["test"] = []
    return images


def _images_at(place: str, root: Any, base: str, path: str, split: str) -> list[str]:
    """Find what data.yaml names: below its `path`, or beside it, also where it was written on another machine."""
    roots = [base] if root is None else [osp.join(base, str(root)), osp.abspath(str(root)), base]
    tries = [osp.normpath(osp.join(folder, place)) for folder in roots]
    tries += [osp.normpath(osp.join(base, place[3:]))] if place.startswith("../") else []  # Roboflow's
    here = next((name for name in tries if osp.exists(name)), None)
    if here is None:
        raise UserError(f"{path}: {split!r} names {place!r}, which is not there: tried {', '.join(tries[:3])}; correct "
                        f"'path' and {split!r} in it")
    if osp.isdir(here):
        return _images_in(here)
    if not here.endswith(".txt"):
        raise UserError(f"{path}: {split!r} names {here!r}, expected a folder of images or a .txt that lists them")
    lines = [line.strip() for line in read_text(here, "write an image a line").splitlines() if line.strip()]
    return [osp.normpath(osp.join(osp.dirname(here), line)) for line in lines]


def _images_in(folder: str) -> list[str]:
    endings = tuple(ending.encode() for ending in IMAGE_ENDINGS)
    found = [name for name in walk(folder).files if name.lower().endswith(endings)]
    bad = [name for name in found if os.fsdecode(name) != printable(name)]
    if bad:
        raise UserError(f"{folder}: the name {printable(bad[0])!r} is no UTF-8; rename it")
    return [osp.join(osp.abspath(folder), os.fsdecode(name)) for name in found]


def _by_folder(images: Iterable[str], tested: bool) -> dict[str, list[str]]:
    """Sort images into splits by the name of a folder above them, as `images/val` or `valid/images`."""
    images = list(images)
    named = [next((split for part in reversed(osp.dirname(image).split(os.sep)[-2:]) if (split := split_of(part))), "")
             for image in images]
    if "train" not in named and not (tested and any(named)):
        return {"train": images}
    rest = [image for image, split in zip(images, named) if not split]
    if rest:
        raise UserError(f"{rest[0]}: lies in no folder train, val or test, as others do; move it, or write a data.yaml")
    return {split: [image for image, name in zip(images, named) if name == split] for split in ("train", "val", "test")}


def _listed_classes(folder: str) -> tuple[str, ...]:
    path = next((osp.join(place, name) for place in (folder, osp.join(folder, "labels")) for name in _LISTS
                 if osp.isfile(osp.join(place, name))), None)
    if path is None:
        raise UserError(f"{folder}: labels of YOLO, but nothing names the classes; write a data.yaml there with names, "
                        "train and val, or classes.txt with a name a line")
    return read_names(path)


def _labels_of(image: str) -> str:
    """Return where the labels of an image lie: the last folder `images` of its path becomes `labels`."""
    head, found, tail = image.rpartition(f"{os.sep}images{os.sep}")
    if found:
        image = osp.join(head, "labels", tail)
    return osp.splitext(image)[0] + ".txt"


def _read_image(image: str, labels: str, classes: tuple[str, ...], notes: Counter[str]) -> LabelledImage:
    size = image_size(image)
    lines: list[str] = []
    if osp.isfile(labels):
        lines = read_text(labels, "write the labels anew").splitlines()
    else:
        notes["images have no file of labels: no objects are in them"] += 1
    objects: dict[LabelledObject, None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _read_line(line, f"{labels}, line {number}", classes, size.width, size.height, notes)
        if found in objects:
            notes["lines of labels that occur twice count once"] += 1
        objects[found] = None
    return LabelledImage(image, size.width, size.height, tuple(objects))


def _read_line(
    line: str, where: str, classes: tuple[str, ...], width: int, height: int, notes: Counter[str]
) -> LabelledObject:
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise UserError(f"{where}: {line.strip()[:60]!r} are no numbers; write 'class x y width height', or 'class' "
                        "and a polygon") from None
    label, places = values[0], values[1:]
    if label not in range(len(classes)):
        raise UserError(f"{where}: class {words[0]} is unknown, the names have 0 to {len(classes) - 1}; correct the "
                        "line or add the name")
    if len(places) != 4 and (len(places) < 6 or len(places) % 2):
        raise UserError(f"{where}: {len(words)} numbers, expected 5 for a box, or 7, 9, 11 ... for a polygon; leave "
                        "out scores and track numbers")
    wrong = [value for value in places if not (math.isfinite(value) and 0 <= value <= 1)]
    if wrong:
        raise UserError(f"{where}: {wrong[0]:.9g} is no fraction of the image, expected 0 to 1; divide pixels by the "
                        "image's width and height")
    if len(places) == 4:
        x, y, w, h = places[0] * width, places[1] * height, places[2] * width, places[3] * height
        return LabelledObject(int(label), clipped(x - w / 2, y - h / 2, x + w / 2, y + h / 2, width, height, where,
                                                  notes))
    xs, ys = [x * width for x in places[::2]], [y * height for y in places[1::2]]
    box = clipped(min(xs), min(ys), max(xs), max(ys), width, height, where, notes)
    polygon = tuple(value for point in zip(xs, ys) for value in point)
    if polygon_area(polygon) == 0:
        raise UserError(f"{where}: the polygon has no area; correct or remove it")
    return LabelledObject(int(label), box, polygon)


def polygon_area(polygon: tuple[float, ...]) -> float:
    """Return the area of a polygon `x0 y0 x1 y1 ...` (shoelace formula)."""
    xs, ys = polygon[::2], polygon[1::2]
    return abs(sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(len(xs)))) / 2
