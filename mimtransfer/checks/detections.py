"""Read detections in COCO's format for results, as data that anyone may have written."""
from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from mimtransfer.checks.annotations import is_number, no_collection
from mimtransfer.checks.objects import run_lengths
from mimtransfer.checks.values import shown
from mimtransfer.errors import UserError
from mimtransfer.stored import read_text

_LARGEST = 8 << 30  # bytes; boxes and masks of COCO's 5,000 images have some 300 MB
_RUNS = re.compile("([P-o]{0,7}[0-O])+")  # numbers of five bits a character, the last of each below "P"; below 2 ** 40
_FIX = "write it again by tools/test.py --save-predictions, or as COCO's server wants results"


def read_detections(path: str | os.PathLike, coco: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a list of boxes or masks.

    Args:
        coco: a COCO json that is sound.

    Returns:
        of each detection `image_id`, `category_id`, `score`, and `bbox`, `segmentation` (compressed RLE) or both; all
        have the same.

    Raises:
        UserError: there is no such file, it is no list of them, or one names no image or category of the json, has no
            finite score, no box or a mask of another size than its image.
    """
    found = _read_list(path)
    sizes = {image["id"]: [image["height"], image["width"]] for image in coco["images"]}
    categories = {category["id"] for category in coco["categories"]}
    kept = []
    shapes: set[str] | None = None
    for number, one in enumerate(found):
        where = f"{path}: detection {number}"
        if type(one) is not dict:
            raise UserError(f"{where} is {shown(one)}, expected an object; {_FIX}")
        for key, known in (("image_id", sizes), ("category_id", categories)):
            if type(one.get(key)) is not int or one[key] not in known:
                raise UserError(f"{where}: {key} {shown(one.get(key))} is not in the annotation file; give the one "
                                "that was tested on, --ann-file JSON")
        if not is_number(one.get("score")):
            raise UserError(f"{where}: score is {shown(one.get('score'))}, expected a number; {_FIX}")
        own = {key for key in ("bbox", "segmentation") if key in one}
        shapes = own if shapes is None else shapes
        if not own or own != shapes:
            expected = " and ".join(sorted(shapes)) or "bbox or segmentation"
            raise UserError(f"{where} has {' and '.join(sorted(own)) or 'neither'}, expected {expected}; {_FIX}")
        if "bbox" in own and not _is_box(one["bbox"]):
            raise UserError(f"{where}: bbox is {shown(one['bbox'])}, expected x, y, width and height; {_FIX}")
        if "segmentation" in own and not _is_mask(one["segmentation"], sizes[one["image_id"]]):
            raise UserError(f"{where}: segmentation is no compressed RLE of {sizes[one['image_id']]}, the size of its "
                            f"image; {_FIX}")
        kept.append({key: one[key] for key in ("image_id", "category_id", "score", *own)})
    return kept


def _read_list(path: str | os.PathLike) -> list[Any]:
    text = read_text(path, _FIX, _LARGEST)
    try:
        with no_collection():
            found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({' '.join(str(error).split())[:120]}); {_FIX}") from error
    if not isinstance(found, list):
        raise UserError(f"{path}: holds {shown(found)}, expected a list of detections; {_FIX}")
    return found


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(is_number, value)) and min(value[2:]) >= 0


def _is_mask(value: Any, size: list[int]) -> bool:
    """Say whether a compressed RLE has the pixels of its image: pycocotools does not look where it reads."""
    if type(value) is not dict or value.get("size") != size or type(value.get("counts")) is not str:
        return False
    text = value["counts"]
    if not _RUNS.fullmatch(text):
        return False
    runs = run_lengths(text)
    return min(runs) >= 0 and sum(runs) == math.prod(size)
