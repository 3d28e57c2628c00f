"""The predictions that tools/test.py --save-predictions writes into its work dir, and reading them as data.

    predictions.json        what was tested: kind, classes; of a detector, the annotation file and its digest
    predictions.bbox.json   boxes, in COCO's format for results, written by mmdet
    predictions.segm.json   masks, likewise
    predictions.areas.json  pixels of each class in each image, written by `PixelAreas`
"""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mimtransfer.errors import UserError
from mimtransfer.evaluation.comparison.mean_iou import Areas
from mimtransfer.files import sha256_file, write_atomically
from mimtransfer.stored import read_object

SCHEMA = 1
MANIFEST, AREAS = "predictions.json", "predictions.areas.json"
KINDS = ("bbox", "segm")  # of detections, as COCO calls them
FIX = "write it again by tools/test.py --save-predictions"


class Manifest(NamedTuple):
    """What was tested.

    Args:
        kind: `detection` or `segmentation`.
        classes: names.
        ann_file: path of the COCO json as the config has it; "" in segmentation.
        sha256: of that file.
    """

    kind: str
    classes: list[str]
    ann_file: str = ""
    sha256: str = ""


def detections_file(folder: str | Path, kind: str) -> Path:
    """Return the file of the boxes or masks in a work dir."""
    return Path(folder, f"predictions.{kind}.json")


def write_manifest(folder: str | Path, kind: str, classes: list[str], ann_file: str = "") -> None:
    """Write what was tested."""
    sha256 = sha256_file(ann_file) if ann_file else ""
    content = Manifest(kind, classes, ann_file, sha256)._asdict()
    write_atomically(Path(folder, MANIFEST), json.dumps({"schema": SCHEMA, **content}, indent=1) + "\n")


def read_manifest(folder: str | Path) -> Manifest:
    """Read what was tested.

    Raises:
        UserError: there is none, or it is of another version or not sound.
    """
    path = Path(folder, MANIFEST)
    if not path.exists():
        raise UserError(f"{folder} holds no {MANIFEST}: run tools/test.py CONFIG CHECKPOINT --save-predictions")
    said = read_object(path, {"schema": int, "kind": str, "classes": list, "ann_file": str, "sha256": str}, FIX)
    if said["schema"] != SCHEMA or said["kind"] not in ("detection", "segmentation"):
        raise UserError(f"{path}: got kind {said['kind']!r} in version {said['schema']}, expected detection or "
                        f"segmentation in version {SCHEMA}; {FIX}")
    _check_names(path, "classes", said["classes"])
    if (said["kind"] == "detection") != bool(said["ann_file"]) or "\0" in said["ann_file"]:
        raise UserError(f"{path}: ann_file is {said['ann_file']!r}, expected a path of a detector's test; {FIX}")
    return Manifest(said["kind"], said["classes"], said["ann_file"], said["sha256"])


def write_areas(path: Path, classes: list[str], results: list[tuple[str, list[list[int]]]]) -> None:
    """Write the pixels of each class in each image.

    Args:
        results: path of each image, and its pixels [3, C] that are hit, guessed and true.
    """
    folder = os.path.commonpath([os.path.dirname(name) for name, _ in results])
    results = sorted((os.path.relpath(name, folder or "."), areas) for name, areas in results)
    content: dict[str, Any] = {"schema": SCHEMA, "classes": classes, "images": [name for name, _ in results]}
    for k, part in enumerate(("hit", "guessed", "true")):
        content[part] = [areas[k] for _, areas in results]
    write_atomically(path, json.dumps(content) + "\n")


def read_areas(folder: str | Path) -> Areas:
    """Read the pixels of each class in each image.

    Raises:
        UserError: there is no such file, it is of another version, or its numbers cannot be pixels.
    """
    path = Path(folder, AREAS)
    fields = {"schema": int, **dict.fromkeys(("classes", "images", "hit", "guessed", "true"), list)}
    said = read_object(path, fields, FIX)
    if said["schema"] != SCHEMA:
        raise UserError(f"{path}: got version {said['schema']}, expected {SCHEMA}; {FIX}")
    for name in ("classes", "images"):
        _check_names(path, name, said[name])
    shape = (len(said["images"]), len(said["classes"]))
    hit, guessed, true = (_pixels(path, name, said[name], shape) for name in ("hit", "guessed", "true"))
    if (hit > np.minimum(guessed, true)).any():
        raise UserError(f"{path}: more pixels are hit than predicted or there; {FIX}")
    return Areas(said["images"], said["classes"], hit, guessed, true)


def check_same(first: Areas, second: Areas, names: tuple[str, str]) -> None:
    """Refuse areas of other images, classes or labels.

    Args:
        names: of both, for the message.

    Raises:
        UserError: they are not of the same ground truth.
    """
    for what in ("classes", "images"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            odd = sorted(set(one) ^ set(other))
            shown = f"the first of {len(odd)} that only one has is {odd[0]!r}" if odd else "their order differs"
            raise UserError(f"{names[0]} and {names[1]} have other {what} ({shown}); test both on the same data")
    apart = np.flatnonzero((first.true != second.true).any(axis=1))
    if len(apart):
        raise UserError(f"{names[0]} and {names[1]} were tested on other labels: {len(apart)} images have other pixels "
                        f"of the classes, the first is {first.images[apart[0]]!r}; test both on the same data")


def _check_names(path: Path, what: str, names: list) -> None:
    sound = bool(names) and all(type(name) is str for name in names)
    if not sound or len(set(names)) < len(names):
        raise UserError(f"{path}: {what!r} is not a list of different texts; {FIX}")


def _pixels(path: Path, name: str, rows: list, shape: tuple[int, int]) -> np.ndarray:
    """Return [images, classes] int64, of pixels in 0 to 2 ** 40."""
    sound = len(rows) == shape[0] and all(type(row) is list and len(row) == shape[1] for row in rows)
    if sound and all(type(number) is int and 0 <= number <= 1 << 40 for row in rows for number in row):
        return np.array(rows, dtype=np.int64)
    raise UserError(f"{path}: {name!r} is not {shape[0]} lists of {shape[1]} numbers of pixels; {FIX}")
