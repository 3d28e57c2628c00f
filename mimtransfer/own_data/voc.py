"""Read a data set of Pascal VOC: an XML file for each image, lists of images in `ImageSets/Main`.

A box is `xmin ymin xmax ymax` in pixels counted from 1, the last one included: pixel 1 is the first. `difficult`
objects are neither learned nor scored.
"""
from __future__ import annotations

import os
import os.path as osp
import re
from collections import Counter
from typing import NamedTuple
from xml.etree import ElementTree

from mimtransfer.datasets.tree import walk
from mimtransfer.errors import UserError
from mimtransfer.own_data.found import (
    IMAGE_ENDINGS,
    UNSEEN_TURN,
    FoundBoxes,
    LabelledImage,
    LabelledObject,
    Size,
    clipped,
    image_size,
    split_of,
    turned,
)
from mimtransfer.own_data.names import check_names, read_names
from mimtransfer.own_data.splits import below
from mimtransfer.stored import read_text

_LISTS = ("classes.txt", "labels.txt", "class_names.txt")
_LARGEST = 16 << 20  # bytes of an XML
_FIX = "write it as Pascal VOC has it"


class _Marked(NamedTuple):
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


class _Annotation(NamedTuple):
    filename: str
    size: tuple[int, int] | None  # as it says, None where it does not
    objects: list[_Marked]


def read_voc(folder: str, tested: bool = False) -> FoundBoxes:
    """Read all annotations of a data set.

    Args:
        folder: with `Annotations`, `JPEGImages` and maybe `ImageSets/Main`; or XML files beside their images.
        tested: they are for a test alone, so lists of val or test split them without one of train.

    Raises:
        UserError: a file is broken, its image is not there or has another size, or a box cannot be.
    """
    folder, notes = osp.abspath(folder), Counter[str]()
    inside = osp.join(folder, "Annotations") if osp.isdir(osp.join(folder, "Annotations")) else folder
    paths = [osp.join(inside, os.fsdecode(name)) for name in walk(inside).files if name.lower().endswith(b".xml")]
    if not paths:
        raise UserError(f"{folder}: no XML files of Pascal VOC below it; give the folder that holds 'Annotations'")
    annotations = {path: _read_xml(path) for path in paths}
    images = {path: _image_of(path, annotation.filename, folder, inside) for path, annotation in annotations.items()}
    twice = [image for image, count in Counter(images.values()).items() if count > 1]
    if twice:
        both = [path for path, image in images.items() if image == twice[0]]
        raise UserError(f"{both[0]} and {both[1]} are both of the image {twice[0]!r}; give each image one file")
    named = sorted({marked.name for annotation in annotations.values() for marked in annotation.objects})
    if not named:
        raise UserError(f"{folder}: no object in its {len(paths)} XML files; give the folder of the annotations")
    listed = next((osp.join(folder, name) for name in _LISTS if osp.isfile(osp.join(folder, name))), None)
    classes = read_names(listed) if listed else check_names(named, folder)
    known = {path: _read_image(path, images[path], annotation, classes, notes, listed)
             for path, annotation in annotations.items()}
    found = _splits(folder, inside, paths, tested)
    splits = {split: [known[path] for path in members] for split, members in found.items()}
    used = [image.path for members in splits.values() for image in members]
    if len(used) < len(paths):
        notes["annotated images are in no list of ImageSets/Main and left out"] = len(paths) - len(used)
    return FoundBoxes("voc", osp.commonpath([osp.dirname(path) for path in used]), classes, splits, notes)


def _read_xml(path: str) -> _Annotation:
    text = read_text(path, _FIX, _LARGEST)
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise UserError(f"{path}: declares entities, which no annotation needs; {_FIX}")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: no valid XML ({error}); {_FIX}") from None
    if root.tag != "annotation":
        raise UserError(f"{path}: begins with <{root.tag}>, expected <annotation>; {_FIX}")
    width, height = (_number(root.findtext(f"size/{key}") or "0", f"size/{key}", path) for key in ("width", "height"))
    size = (int(width), int(height)) if width > 0 and height > 0 else None
    filename = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
    if "\0" in filename:
        raise UserError(f"{path}: <filename> holds a zero; {_FIX}")
    objects = [_read_object(node, f"{path}, object {number}") for number, node in enumerate(root.findall("object"), 1)]
    return _Annotation(filename, size, objects)


def _read_object(node: ElementTree.Element, where: str) -> _Marked:
    name, box = (node.findtext("name") or "").strip(), node.find("bndbox")
    if not name:
        raise UserError(f"{where}: has no name; {_FIX}")
    if box is None:
        raise UserError(f"{where}, {name!r}: has no <bndbox>; {_FIX}")
    corners = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = box.findtext(key)
        if text is None:
            raise UserError(f"{where}, {name!r}: <bndbox> has no {key}; {_FIX}")
        corners.append(_number(text, key, where))
    difficult = (node.findtext("difficult") or "0").strip()
    if difficult.lower() not in ("0", "1", "unspecified"):
        raise UserError(f"{where}, {name!r}: difficult is {difficult!r}, expected 0 or 1; {_FIX}")
    x0, y0, x1, y1 = corners
    return _Marked(name, (x0, y0, x1, y1), difficult == "1")


def _number(text: str, key: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:  # nor for NaN
        raise UserError(f"{where}: {key} is {text.strip()[:40]!r}, expected a number of pixels; {_FIX}")
    return value


def _image_of(path: str, filename: str, folder: str, inside: str) -> str:
    """Find the image of an XML: by its own name, below the folder of images as the XML below that of annotations."""
    below, stem = osp.split(osp.relpath(path, inside))
    stem = osp.splitext(stem)[0]
    places = [osp.join(folder, name, below) for name in ("JPEGImages", "images", "Images", "")]
    places += [osp.join(folder, name) for name in ("JPEGImages", "images", "Images")]
    places += [osp.dirname(path), osp.join(osp.dirname(osp.dirname(path)), "images")]
    for place in dict.fromkeys(map(osp.normpath, places)):
        names = [stem + ending for lower in IMAGE_ENDINGS for ending in (lower, lower.upper())]
        for name in [filename, *names] if osp.splitext(filename)[0] == stem else [*names, filename]:
            if name and osp.isfile(osp.join(place, name)):
                return osp.join(place, name)
    raise UserError(f"{path}: its image {filename or stem!r} is not in {places[0]!r} nor beside it; copy it there or "
                    "remove the file")


def _read_image(
    path: str, image: str, annotation: _Annotation, classes: tuple[str, ...], notes: Counter[str], listed: str | None
) -> LabelledImage:
    size, numbers = image_size(image), {name: number for number, name in enumerate(classes)}
    stored = _as_stored(path, image, annotation.size, size, notes)
    objects: dict[LabelledObject, None] = {}
    for number, marked in enumerate(annotation.objects, 1):
        where = f"{path}, object {number}, {marked.name!r}"
        if marked.name not in numbers:
            raise UserError(f"{where}: {listed} has no such class; correct the name or add it there")
        x0, y0, x1, y1 = marked.corners
        if min(x0, y0) < 1:
            notes["boxes begin at pixel 0, though VOC counts from 1: was the file written by another rule?"] += 1
        x0, y0 = x0 - 1, y0 - 1  # from the edge of the image: pixel 1 covers 0 to 1
        if stored:
            x0, y0, x1, y1 = turned(x0, y0, x1, y1, size)
        box = clipped(x0, y0, x1, y1, size.width, size.height, where, notes)
        objects[LabelledObject(numbers[marked.name], box, ignored=marked.difficult)] = None
    return LabelledImage(image, size.width, size.height, tuple(objects))


def _as_stored(path: str, image: str, told: tuple[int, int] | None, size: Size, notes: Counter[str]) -> bool:
    """Say whether boxes are those of the image as stored, which is shown on its side."""
    if size.turns_unseen:
        notes[UNSEEN_TURN] += 1
    if told is None or told == (size.width, size.height):
        return False
    if told == size.stored:
        notes["images are turned by their EXIF data; their boxes were turned with them"] += 1
        return True
    raise UserError(f"{path}: says {told[0]}x{told[1]} pixels, but {image!r} has {size.width}x{size.height}; restore "
                    "the image or write the boxes anew")


def _splits(folder: str, inside: str, paths: list[str], tested: bool) -> dict[str, list[str]]:
    """Return the XML files of each split, by lists, else by folders, else all as train."""
    lists = osp.join(folder, "ImageSets", "Main")
    by_name = {osp.splitext(below(path, inside))[0]: path for path in paths}
    found = {name: _listed(osp.join(lists, f"{name}.txt"), by_name) for name in ("train", "val", "trainval", "test")
             if osp.isfile(osp.join(lists, f"{name}.txt"))}
    if not found.get("train") and found.get("trainval"):
        found["train"] = [path for path in found["trainval"] if path not in set(found.get("val", ()))]
    found.pop("trainval", None)
    if not found.get("train") and not (tested and any(found.values())):
        found = {"train": [], "val": [], "test": []}
        for path in paths:
            parts = osp.relpath(path, folder).split(os.sep)[:-1]
            found[next((split for part in parts if (split := split_of(part))), "train")].append(path)
    return {split: members for split, members in found.items() if members}


def _listed(path: str, by_name: dict[str, str]) -> list[str]:
    found = []
    for number, line in enumerate(read_text(path, "write an image a line").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        name = osp.splitext(words[0])[0] if words[0].lower().endswith(IMAGE_ENDINGS) else words[0]
        if name not in by_name:
            raise UserError(f"{path}, line {number}: {words[0]!r} has no XML file; add it or remove the line")
        found.append(by_name[name])
    return list(dict.fromkeys(found))
