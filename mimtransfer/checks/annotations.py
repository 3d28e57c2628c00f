"""Look into a COCO json: what is missing, of another type, or names nothing that is listed.

Found before the data are loaded, because mmdet and pycocotools meet it late: an annotation of the validation set
without `iscrowd` stops the evaluation after the training.
"""
from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

from mimtransfer.checks import FAIL, WARN, Finding, counted
from mimtransfer.checks.objects import object_problems

_LARGE = 1e12  # no coordinate and no area is larger
_LISTS = ("images", "annotations", "categories")


@contextmanager
def no_collection() -> Iterator[None]:
    """Look for no garbage: of millions of lists none is, and looking takes longer than reading and checking them."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def read_coco(path: str, where: str, without_annotations: bool = False) -> tuple[dict[str, Any] | None, Finding | None]:
    """Read a COCO json.

    Args:
        where: begins the finding, e.g. "train data".
        without_annotations: they may be absent, as of images whose labels are withheld.

    Returns:
        the json, and None; or None and what is wrong with it.
    """
    fix = "write one, or convert yours"
    try:
        with open(path, encoding="utf-8") as file, no_collection():
            coco = json.load(file)
    except (ValueError, OSError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        return None, Finding(FAIL, f"{where}: {path!r} is no COCO json ({' '.join(why.split())})", fix)
    if not isinstance(coco, dict):
        return None, Finding(FAIL, f"{where}: {path!r} is no COCO json (it is a {type(coco).__name__})", fix)
    if without_annotations:
        coco.setdefault("annotations", [])
    for key in _LISTS:
        if key not in coco:
            hint = "write one, or evaluate with format_only=True where labels are withheld"
            return None, Finding(FAIL, f"{where}: {path!r} has no list {key!r}", hint if key == "annotations" else fix)
        if not isinstance(coco[key], list):
            kind = type(coco[key]).__name__
            return None, Finding(FAIL, f"{where}: {path!r}: {key!r} is a {kind}, expected a list", fix)
    if not coco["images"] or not (coco["annotations"] or without_annotations):
        counts = f"{len(coco['images'])} images and {len(coco['annotations'])} annotations"
        says = f"{where}: {path!r} lists {counts}, expected some of both"
        return None, Finding(FAIL, says, "check how it was written")
    return coco, None


def coco_problems(
    coco: dict[str, Any],
    classes: tuple[str, ...],
    masks: bool,
    evaluated: bool = False,
    filter_cfg: dict[str, Any] | None = None,
    lvis: bool = False,
) -> Iterator[Finding]:
    """Yield the mistakes in a COCO json, without opening an image.

    Args:
        coco: as `read_coco` returns it.
        classes: of the config; all categories when empty.
        masks: whether the model learns masks.
        evaluated: whether pycocotools reads it for the score.
        filter_cfg: of the data set.
        lvis: whether it is a json of LVIS, which has other keys.
    """
    problems = list(_entries(coco, evaluated and not lvis, lvis)) or list(_ids(coco, evaluated))
    problems += category_problems(coco, classes, lvis) if not problems else []
    yield from problems
    if any(found.level == FAIL for found in problems):
        return  # what follows needs sound entries
    if coco["annotations"]:
        yield from object_problems(coco, classes, masks, evaluated, filter_cfg or {})


def _entries(coco: dict[str, Any], with_crowds: bool, lvis: bool) -> Iterator[Finding]:
    """Yield entries that are no objects, lack a key, or hold a value of another type."""
    for kind in _LISTS:
        odd = [f"number {k}" for k, entry in enumerate(coco[kind]) if not isinstance(entry, dict)]
        yield from counted(FAIL, odd, f"{kind} that are no objects", "write each as {...} with its keys")
        if odd:
            return
    name = ("coco_url" if "coco_url" in coco["images"][0] else "file_name") if lvis else "file_name"
    keys: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
        "images": {
            "id": (_whole, "is no integer"),
            name: (_text, "is no text"),
            "width": (_size, "is no positive number"),
            "height": (_size, "is no positive number"),
        },
        "categories": {"id": (_whole, "is no integer"), "name": (_text, "is no text")},
        "annotations": {
            "id": (_whole, "is no integer"),
            "image_id": (_whole, "is no integer"),
            "category_id": (_whole, "is no integer"),
            "bbox": (_box, "is not four numbers"),
            "area": (is_number, "is no number"),
            "iscrowd": (_flag, "is not 0 or 1"),
        },
    }
    for kind, checks in keys.items():
        for key, (sound, says) in checks.items():
            values = [entry.get(key) for entry in coco[kind]]
            if _all_plain(values, sound) or all(map(sound, values)):
                continue
            absent = [_called(entry, k) for k, entry in enumerate(coco[kind]) if key not in entry]
            if key == "iscrowd" and not with_crowds:
                absent = []  # mmdet takes 0
            yield from counted(FAIL, absent, f"{kind} without {key!r}", _MEND.get(key, "write it for each"))
            wrong = [(k, entry) for k, entry in enumerate(coco[kind]) if key in entry and not sound(entry[key])]
            cases = [f"{_called(entry, k)} has {json.dumps(entry[key])[:40]}" for k, entry in wrong]
            yield from counted(FAIL, cases, f"{kind} whose {key!r} {says}", _MEND.get(key, "write it as COCO has it"))


_MEND = {
    "id": "number them from 1, as integers",
    "width": "write the size of each image in pixels",
    "height": "write the size of each image in pixels",
    "bbox": "write x y width height in pixels, or drop the annotation",
    "area": "write the pixels of each object: those of its mask, or width x height of its box",
    "iscrowd": "write 0, or 1 for a group in one box: pycocotools asks for it after the training",
    "file_name": "write the path of each image below data_prefix",
}


def _ids(coco: dict[str, Any], evaluated: bool) -> Iterator[Finding]:
    """Yield ids that occur twice or name nothing."""
    for kind in _LISTS:
        ids = [entry["id"] for entry in coco[kind]]
        twice = [] if len(set(ids)) == len(ids) else [i for i, count in Counter(ids).items() if count > 1]
        yield from counted(FAIL, twice, f"ids of {kind} that occur more than once",
                           "number them anew: evaluation matches by id and counts only one")
    annotations = coco["annotations"]
    yield from counted(FAIL if evaluated else WARN, [a["id"] for a in annotations if a["id"] == 0],
                       "annotations with id 0",
                       "number from 1: pycocotools takes a match with id 0 for no match, and AP falls")
    images, categories = {im["id"] for im in coco["images"]}, {category["id"] for category in coco["categories"]}
    for key, known, says, fix in (
        ("image_id", images, "images that are not listed", "add the images or drop the annotations"),
        ("category_id", categories, "categories that are not listed", "add the categories, ids included"),
    ):
        absent = {a[key] for a in annotations} - known
        yield from counted(FAIL, [a["id"] for a in annotations if a[key] in absent] if absent else [],
                           f"annotations of {says}", fix)
    names = Counter(im.get("file_name") for im in coco["images"] if "file_name" in im)
    yield from counted(WARN, [name for name, count in names.items() if count > 1],
                       "files of images that occur more than once",
                       "give all objects of an image to one entry: each takes the other's for background")


def category_problems(coco: dict[str, Any], classes: tuple[str, ...], lvis: bool = False) -> Iterator[Finding]:
    """Yield names of categories that are not the config's classes, in its order. Arguments as of `coco_problems`."""
    names = [category["name"] for category in coco["categories"]]
    shown = f"{', '.join(map(repr, names[:5]))}{' ...' if len(names) > 5 else ''}"
    absent = [name for name in classes if name not in names]
    if absent:
        some = f"{', '.join(map(repr, absent[:5]))}{' ...' if len(absent) > 5 else ''}"
        fix = "set dataset.metainfo=dict(classes=...) to its names"
        yield Finding(FAIL, f"has no category {some} but {shown}", fix)
        return
    yield from counted(FAIL, [name for name, count in Counter(names).items() if count > 1],
                       "names of categories that occur more than once", "give each its own: mmdet finds them by name")
    known = [name for name in names if name in classes]
    if classes and not lvis and len(known) == len(classes) and known != list(classes):
        k = next(k for k, pair in enumerate(zip(known, classes)) if pair[0] != pair[1])
        yield Finding(FAIL, f"has its categories in another order than the config's classes: number {k} is "
                      f"{known[k]!r}, the config says {classes[k]!r}",
                      f"set metainfo.classes to ({', '.join(map(repr, known[:5]))}{' ...' if len(known) > 5 else ''}): "
                      "mmdet numbers by the json and names by the config")


def _all_plain(values: list, sound: Callable[[Any], bool]) -> bool:
    """Say at the speed of C whether all values are as writers of COCO write them; False: look at each.

    Args:
        values: of one key, of 860,000 annotations in COCO.
        sound: what each must be.
    """
    kinds = set(map(type, values))
    if sound is _whole:
        return kinds == {int}
    if sound is _flag:
        return kinds == {int} and set(values) <= {0, 1}
    if sound is is_number:
        return _numbers(kinds) and _within(values)
    if sound is _box:
        inside = chain.from_iterable
        return (kinds == {list} and set(map(len, values)) == {4} and _numbers(set(map(type, inside(values))))
                and _within(map(sum, values)))
    return False


def _numbers(kinds: set[type]) -> bool:
    return bool(kinds) and kinds <= {int, float}


def _within(values: Iterable[float]) -> bool:
    try:
        array = np.fromiter(values, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        return False
    return bool((np.abs(array) < _LARGE).all())  # not for NaN, either


def _called(entry: dict[str, Any], number: int) -> str:
    return str(entry.get("id", f"number {number}"))


def _whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def is_number(value: Any) -> bool:
    """Say whether a value of a JSON is a number that a coordinate, an area or a score can have."""
    return type(value) in (int, float) and -_LARGE < value < _LARGE  # not for NaN, either


def _size(value: Any) -> bool:
    return is_number(value) and value > 0


def _text(value: Any) -> bool:
    return type(value) is str and value != "" and "\0" not in value


def _flag(value: Any) -> bool:
    return type(value) in (int, bool, float) and value in (0, 1)


def _box(value: Any) -> bool:
    try:
        return type(value) is list and len(value) == 4 and -_LARGE < sum(value) < _LARGE
    except TypeError:  # text, null or a list among them
        return False
