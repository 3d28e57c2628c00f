"""Find COCO jsons, one or one for each split, and the folders of their images; check them as `tools/doctor.py` does.

What is sound is trained on as it is. A json is written anew only where there is a single one to be split.
"""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterable
from typing import Any, NamedTuple

from mimtransfer.checks import FAIL, Finding
from mimtransfer.checks.annotations import category_problems, coco_problems, read_coco
from mimtransfer.errors import UserError, near_files
from mimtransfer.own_data.found import SPLIT_NAMES, image_size, split_of
from mimtransfer.own_data.names import check_names
from mimtransfer.own_data.splits import check_apart

_BEGINNING = 4096  # characters that show whether a json is one of COCO


class CocoFile(NamedTuple):
    """A COCO json."""

    path: str  # absolute
    images: str  # folder, absolute
    content: dict[str, Any]


class FoundCoco(NamedTuple):
    """Jsons of one data set."""

    classes: tuple[str, ...]  # in the order of the categories
    masks: bool  # whether each object has a segmentation
    splits: dict[str, CocoFile]  # train, val, test; of those that were given


def find_jsons(folder: str) -> dict[str, str]:
    """Return split -> COCO json of a folder; empty where there is none.

    Looked at are the folder itself, its `annotations` and the folders of splits in it (Roboflow's layout).

    Raises:
        UserError: two of them are of one split.
    """
    places = [folder, osp.join(folder, "annotations"), osp.join(folder, "Annotations")]
    names = sorted(name for name in os.listdir(folder) if split_of(name) and osp.isdir(osp.join(folder, name)))
    places += [osp.join(folder, name) for name in names]
    found: dict[str, str] = {}
    for place in dict.fromkeys(map(osp.realpath, places)):
        for name in sorted(os.listdir(place)) if osp.isdir(place) else ():
            path = osp.join(place, name)
            if not name.lower().endswith(".json") or not _looks_like_coco(path):
                continue
            split = _split_of_json(path)
            if split in found:
                raise UserError(f"{folder}: {found[split]!r} and {path!r} could both be the {split} annotations; give "
                                "the one json that is meant, or name them instances_train.json, instances_val.json")
            found[split] = path
    return found


def read_coco_set(path: str, images: str | None = None, tested: bool = False) -> FoundCoco:
    """Read the jsons of a data set.

    Args:
        path: a json, or a folder of `find_jsons`.
        images: folder of the images; None: it is looked for.
        tested: they are for a test alone, so one that is trained on need not be there.

    Raises:
        UserError: a json is broken, names images that are not there, or classes other than the first has.
    """
    jsons = find_jsons(path) if osp.isdir(path) else {"train": osp.abspath(path)}
    if not tested and list(jsons) in (["val"], ["test"]):
        jsons = {"train": next(iter(jsons.values()))}
    if "train" not in jsons and not tested:
        raise UserError(f"{path}: has {', '.join(sorted(jsons))} annotations but none to train on; add "
                        "instances_train.json, or give one json to be split")
    contents = {split: _read(file, tested or split != "train") for split, file in jsons.items()}
    classes = _classes(contents, jsons)
    found = {split: CocoFile(jsons[split], images or _folder_of(jsons[split], contents[split], split), contents[split])
             for split in jsons}
    for each in found.values():
        _check_files(each)
        _refuse(category_problems(each.content, classes), each.path)
    check_apart({split: [osp.join(each.images, entry["file_name"]) for entry in each.content["images"]]
                 for split, each in found.items()}, path)
    return FoundCoco(classes, _has_masks(found), found)


def _looks_like_coco(path: str) -> bool:
    """Say whether a json holds the lists of COCO; results and other files beside it do not."""
    try:
        with open(path, encoding="utf-8") as file:
            beginning = file.read(_BEGINNING).lstrip()
            if not beginning.startswith("{"):
                return False
            if '"images"' in beginning or '"annotations"' in beginning:
                return True
            return '"images"' in file.read()
    except (OSError, ValueError):
        return True  # whoever reads it says what is wrong


def _split_of_json(path: str) -> str:
    """Return which split a json is of, by words in its name, else by its folder: `instances_val2017` -> val."""
    words = osp.splitext(osp.basename(path))[0].lower().replace("-", "_").replace(".", "_").split("_")
    named = next((split for word in words if (split := split_of(word))), None)
    return named or split_of(osp.basename(osp.dirname(path))) or "train"


def _read(path: str, evaluated: bool) -> dict[str, Any]:
    if not osp.isfile(path):
        raise UserError(f"{path}: no such file{near_files(path).replace(';', ',')}; give a COCO json")
    coco, problem = read_coco(path, "data")
    if coco is None:
        assert problem is not None
        raise UserError(problem.line)
    _refuse(coco_problems(coco, (), False, evaluated), path)
    return coco


def _refuse(problems: Iterable[Finding], path: str) -> None:
    worst = next((found for found in problems if found.level == FAIL), None)
    if worst is not None:
        raise UserError(f"{path}: {worst.line}")


def _classes(contents: dict[str, dict], jsons: dict[str, str]) -> tuple[str, ...]:
    """Return the names of the categories, without the root that some exporters put above them."""
    def names(coco: dict) -> tuple[str, ...]:
        used = {entry["category_id"] for each in contents.values() for entry in each["annotations"]}
        above = [(entry["name"], entry.get("supercategory")) for entry in coco["categories"]]
        roots = {name for name, _ in above for other, root in above if root == name != other}
        return tuple(entry["name"] for entry in coco["categories"]
                     if entry["id"] in used or entry["name"] not in roots)

    found = {split: names(coco) for split, coco in contents.items()}
    first = "train" if "train" in found else next(iter(found))
    for split, own in found.items():
        if own != found[first]:
            numbers = (len(found[first]), len(own))
            odd = next((pair for pair in zip(found[first], own) if pair[0] != pair[1]), numbers)
            raise UserError(f"{jsons[split]}: its categories are not those of {jsons[first]!r} ({odd[1]!r} in place "
                            f"of {odd[0]!r}); write the same names in the same order into both")
    return check_names(list(found[first]), jsons[first])


def _folder_of(path: str, coco: dict[str, Any], split: str) -> str:
    """Find the folder below which all images of a json lie."""
    here, above = osp.dirname(path), osp.dirname(osp.dirname(path))
    stem = osp.splitext(osp.basename(path))[0]
    words = [word for word in stem.split("_") if word not in ("instances", "annotations")]
    inner = [*words, *SPLIT_NAMES.get(split, ()), "images", "data", "JPEGImages"]
    places = [here, *(osp.join(base, name) for base in (here, above) for name in inner)]
    places += [osp.join(base, "images", name) for base in (here, above) for name in [*words, *SPLIT_NAMES[split]]]
    places.append(above)
    names = [entry["file_name"] for entry in coco["images"]]
    if any(osp.isabs(name) for name in names):
        raise UserError(f"{path}: 'file_name' {next(filter(osp.isabs, names))!r} is a path of one machine; write it "
                        "relative to the folder of the images")
    best, most = here, 0
    for place in dict.fromkeys(map(osp.normpath, places)):
        if most < len(names) and osp.isfile(osp.join(place, names[0])) + osp.isfile(osp.join(place, names[-1])):
            there = sum(osp.isfile(osp.join(place, name)) for name in names)
            best, most = (place, there) if there > most else (best, most)
    if most < len(names):
        missing = next(name for name in names if not osp.isfile(osp.join(best, name)))
        raise UserError(f"{path}: its image {missing!r} is neither beside it nor in a folder 'images', 'train' or the "
                        f"like ({most} of {len(names)} are in {best!r}); put the images there, or name their folder by "
                        "tools/convert_data.py --images DIR")
    return best


def _has_masks(found: dict[str, CocoFile]) -> bool:
    """Say whether each object has a segmentation. pycocotools asks crowds for theirs, too, after the training."""
    entries = [(each.path, entry) for each in found.values() for entry in each.content["annotations"]]
    objects = [entry for _, entry in entries if not entry.get("iscrowd")]
    if not objects or not all(entry.get("segmentation") for entry in objects):
        return False
    for path, entry in entries:
        if not entry.get("segmentation"):
            raise UserError(f"{path}: annotation {entry['id']} is a crowd without a segmentation, and all objects have "
                            "one; write it, or leave the crowd out")
    return True


def _check_files(each: CocoFile) -> None:
    """Refuse names that lead out of the folder of the images, to no file, or twice to one, and files of other sizes."""
    seen: set[str] = set()
    for entry in each.content["images"]:
        name = osp.normpath(entry["file_name"])
        if osp.isabs(name) or name.startswith(".."):
            raise UserError(f"{each.path}: 'file_name' {entry['file_name']!r} leads out of {each.images!r}; write it "
                            "relative to the folder of the images")
        if not osp.isfile(osp.join(each.images, name)):
            raise UserError(f"{each.path}: its image {entry['file_name']!r} is not in {each.images!r}; copy it there")
        if name in seen:
            raise UserError(f"{each.path}: the image {name!r} is listed twice; give all its objects to one entry")
        seen.add(name)
        size = image_size(osp.join(each.images, name))
        told = (entry["width"], entry["height"])
        if told != (size.width, size.height):
            turned = ", turned as its EXIF data say" if size.orientation >= 5 else ""
            raise UserError(f"{each.path}: says that {name!r} has {told[0]}x{told[1]} pixels, but it has {size.width}x"
                            f"{size.height}{turned}; restore the image, or scale or turn its boxes with it")
