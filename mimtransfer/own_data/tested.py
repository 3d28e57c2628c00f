"""Let a config test what it has trained on other data: `tools/test.py CONFIG CKPT --data DIR`.

The classes are those of the model, as its checkpoint names them, and are found by name: the json of boxes that is
tested, and index maps, are written with the model's numbers. Model and geometry are those of the config, which
`check_trained_with` holds against the checkpoint.
"""
from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict
from PIL import Image

from mimtransfer.checks.annotations import read_coco
from mimtransfer.cli.launch import enter_scope, load_config, set_work_dir
from mimtransfer.cli.trained import trained_classes
from mimtransfer.datasets.class_folders import class_images
from mimtransfer.datasets.configured import argument, classes_of, leaves, name_of
from mimtransfer.datasets.tree import walk
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.boxes_only import learns_masks
from mimtransfer.own_data.configure import boxes, class_folders, maps, set_data, task_of
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.converted import MANIFEST, OwnData, name_of_data, read_manifest
from mimtransfer.own_data.masks import IGNORED
from mimtransfer.own_data.write_masks import write_map
from mimtransfer.results.description import protocol_of
from mimtransfer.stored import read_text

_JSON = "annotations/tested.json"
_SOURCE = "source.txt"  # of which data a folder `tested_on_NAME` is


class Told(NamedTuple):
    """What is otherwise than in a test on data like those of the training."""

    protocol: str  # words for its name
    line: str  # for the user


class Place(NamedTuple):
    """Where a test on other data lies."""

    folder: str  # work dir/tested_on_NAME
    name: str  # of the data in the protocol


def with_data(
    cfg: Config, path: str, cfg_options: list[str], source: str, checkpoint: str | None, inside: bool
) -> Config:
    """Return the config of a test on other data, read anew: `--cfg-options` have the last word over them.

    Args:
        cfg: as read before, with the work dir of the test.
        path: of its file.
        checkpoint: that is tested.
        inside: the test gets a folder of its own in the work dir, so that what it writes replaces nothing there.

    Raises:
        UserError: as `set_test_data`.
    """
    place, lines = place_of(source, cfg.work_dir), []
    work_dir, classes = place.folder if inside else cfg.work_dir, trained_classes(checkpoint)
    cfg = load_config(path, cfg_options, prepare=lambda read: lines.extend(set_test_data(read, source, place, classes)))
    set_work_dir(cfg, work_dir, path)
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines), flush=True)
    return cfg


def place_of(source: str, work_dir: str) -> Place:
    """Return where a test on some data lies, and what they are called; other data of the same name have a hash behind
    it.

    Raises:
        UserError: data that were converted before are broken.
    """
    real = osp.realpath(source)
    converted = osp.isfile(osp.join(source, MANIFEST))
    name = read_manifest(source).name if converted else name_of_data(source)
    file = osp.join(work_dir, f"tested_on_{name}", _SOURCE)
    if osp.isfile(file) and read_text(file, "remove it").strip() != real:
        name += f"-{hashlib.sha256(os.fsencode(real)).hexdigest()[:6]}"
    return Place(osp.join(work_dir, f"tested_on_{name}"), name)


def set_test_data(cfg: Config, source: str, place: Place, classes: Sequence[str] | None = None) -> list[str]:
    """Replace the data that a config tests on; those of its training stay, and so does its model.

    Args:
        cfg: of a training; of one that trains nothing (k-NN) all data are replaced, as in a training.
        source: folder, COCO json or data.yaml.
        place: what is converted lies in `data` of its folder.
        classes: of the model, in the order of its outputs; None: those of the config.

    Returns:
        what is tested, in lines.

    Raises:
        UserError: the data are broken, of another task, of classes that the model does not have, or were trained on.
    """
    enter_scope(cfg)  # data sets are looked up
    task, out = task_of(cfg), osp.join(place.folder, "data")
    trains = cfg.get("train_cfg") is not None
    if trains and not cfg.get("test_dataloader"):
        raise UserError("--data: the config has no test_dataloader, whose pipeline and batch a test takes; add one")
    data = convert(source, out, task, tested=trains)
    os.makedirs(place.folder, exist_ok=True)
    write_atomically(osp.join(place.folder, _SOURCE), osp.realpath(source) + "\n")
    if not trains:
        return [*data.summary(), *set_data(cfg, data, place.name)]
    split = next(iter(data.splits))
    setting = {"detection": _set_boxes, "segmentation": _set_maps, "classification": _set_folders}[task]
    told = setting(cfg, data, split, osp.abspath(out), classes)
    _check_unseen(cfg, source)
    words = [each.protocol for each in told if each.protocol]
    cfg.protocol = ", ".join([protocol_of(cfg), f"tested on {place.name}", *words])
    return [*data.summary(), *(each.line for each in told)]


def _set_boxes(cfg: Config, data: OwnData, split: str, out: str, named: Sequence[str] | None) -> list[Told]:
    old, told, metric = cfg.test_dataloader.dataset, [], ["bbox"]
    classes = tuple(named or classes_of(next(leaves(old))))
    coco, problem = read_coco(data.path(split), "data")
    if coco is None:
        assert problem is not None
        raise UserError(problem.line)
    os.makedirs(osp.join(out, osp.dirname(_JSON)), exist_ok=True)
    write_atomically(osp.join(out, _JSON), json.dumps(_in_order(coco, classes, data.source)) + "\n")
    new = boxes(old, replace(data, folder=out), split, _JSON, trained=False)
    if learns_masks(cfg) and data.masks:
        metric.append("segm")
    elif learns_masks(cfg):
        told.append(Told("boxes only", "The data have no masks: box AP alone is scored"))
        for step in new.pipeline:
            if name_of(step) == "LoadAnnotations":
                step.pop("with_mask", None)
    new.metainfo = {**(next(leaves(old)).get("metainfo") or {}), "classes": classes}
    cfg.test_dataloader.dataset = new
    cfg.test_evaluator = ConfigDict(type="CocoMetric", ann_file=osp.join(out, _JSON), metric=metric)
    return told


def _in_order(content: dict[str, Any], classes: Sequence[str], source: str) -> dict[str, Any]:
    """Return a COCO json whose categories are the model's classes, in their order, numbered from 1."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    numbers = {name: number for number, name in enumerate(classes, 1)}
    for name in dict.fromkeys(names[entry["category_id"]] for entry in content["annotations"]):
        if name not in numbers:
            raise _unknown(name, classes, source, "rename it, or remove its objects")
    annotations = [{**entry, "category_id": numbers[names[entry["category_id"]]]} for entry in content["annotations"]]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {**content, "annotations": annotations, "categories": categories}


def _set_maps(cfg: Config, data: OwnData, split: str, out: str, named: Sequence[str] | None) -> list[Told]:
    old = cfg.test_dataloader.dataset
    classes = tuple(named or classes_of(next(leaves(old))))
    new = maps(old, data, split, trained=False)
    if tuple(data.classes) != classes[: len(data.classes)]:
        _write_maps(data, split, osp.join(out, "maps"), classes)
        new.data_prefix.seg_map_path = osp.join(out, "maps")
    new.metainfo = {**(next(leaves(old)).get("metainfo") or {}), "classes": classes}
    cfg.test_dataloader.dataset = new
    cfg.test_evaluator = ConfigDict(type="IoUMetric", iou_metrics=["mIoU"])
    return []


def _write_maps(data: OwnData, split: str, out: str, classes: Sequence[str]) -> None:
    """Write the index maps of a split with the numbers of the model's classes."""
    numbers = {name: number for number, name in enumerate(classes)}
    lookup = np.full(256, IGNORED, dtype=np.uint8)
    lookup[: len(data.classes)] = [numbers.get(name, IGNORED) for name in data.classes]
    unknown = {number: name for number, name in enumerate(data.classes) if name not in numbers}
    for name in _listed(data.path(split, "names")):
        with Image.open(osp.join(data.path(split), name + ".png")) as file:
            labels = np.asarray(file)
        for number in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)).tolist():
            if number in unknown:
                raise _unknown(unknown[number], classes, data.source, "write the model's names into classes.txt, each "
                               "in the line of its number in the masks, or set its pixels to 255")
        write_map(lookup[labels], osp.join(out, name + ".png"))


def _set_folders(cfg: Config, data: OwnData, split: str, out: str, named: Sequence[str] | None) -> list[Told]:
    trained = next(leaves(cfg.train_dataloader.dataset))
    there = name_of(trained) == "ClassFolder" and osp.isdir(osp.expanduser(trained.root))
    classes = list(named or (class_images(osp.expanduser(trained.root)).classes if there else ()))
    new, own = class_folders(cfg.test_dataloader.dataset, data, split), list(data.classes)
    number, told = cfg.model.get("num_classes"), []
    for key in ("fraction", "images_per_class"):  # of the data that the config had
        new.pop(key, None)
    if not classes:
        if len(own) != number:
            raise UserError(f"--data {data.source}: its class folders are {_some(own)}, the model has {number} "
                            "classes, and neither its checkpoint nor data of its training name them; give as many "
                            "folders")
        told.append(Told("", f"Nothing names the {number} classes of the model: taken are the folders, sorted"))
    for name in own:
        if classes and name not in classes:
            raise _unknown(name, classes, data.source, "rename its folder, or remove it")
    if classes and own != classes:
        new.trained_classes, new.in_order = classes, True
    if 0 < len(own) < len(classes):
        words = f"among {len(own)} of {len(classes)} classes"
        told.append(Told(words, f"The data lack classes of the model: accuracy is that {words}"))
    cfg.test_dataloader.dataset = new
    return told


def _check_unseen(cfg: Config, source: str) -> None:
    """Refuse images that the model was trained on, where the training's files are still there."""
    loader = cfg.get("train_dataloader") or {}
    trained = {path for dataset in leaves(loader.get("dataset") or {}) for path in _images(dataset)}
    tested = list(_images(cfg.test_dataloader.dataset))
    seen = [path for path in tested if path in trained]
    if seen:
        raise UserError(f"--data {source}: {len(seen)} of its {len(tested)} images were trained on, the first is "
                        f"{seen[0]!r}: a score of them is one of images learned by heart; give others, or leave --data "
                        "out to test on what the training has put aside")


def _images(dataset: Any) -> Iterator[str]:
    """Yield the real paths of the images of class folders, COCO jsons and index maps; none where no file is there."""
    kind, root, prefix = name_of(dataset), dataset.get("data_root") or "", dataset.get("data_prefix") or {}
    listed = osp.join(root, dataset.get("ann_file") or "")
    if kind == "ClassFolder" and osp.isdir(osp.expanduser(dataset.root)):
        yield from (osp.realpath(path) for path, _ in class_images(osp.expanduser(dataset.root)).samples)
    elif kind == "CocoDataset" and osp.isfile(listed):
        coco, _ = read_coco(listed, "data")
        folder = osp.join(root, prefix.get("img") or "")
        yield from (osp.realpath(osp.join(folder, entry["file_name"])) for entry in (coco or {"images": []})["images"])
    elif "seg_map_path" in prefix:
        folder, suffix = osp.join(root, prefix.get("img_path") or ""), argument(dataset, "img_suffix")
        if osp.isfile(listed):
            names = [name + suffix for name in _listed(listed)]
        elif osp.isdir(folder):
            names = [name for name in map(os.fsdecode, walk(folder, as_mmseg=True).files) if name.endswith(suffix)]
        else:
            names = []
        yield from (osp.realpath(osp.join(folder, name)) for name in names)


def _listed(path: str) -> list[str]:
    return [line.strip() for line in read_text(path, "convert the data again").splitlines() if line.strip()]


def _unknown(name: str, classes: Sequence[str], source: str, fix: str) -> UserError:
    return UserError(f"--data {source}: {name!r} is no class of the model ({_some(classes)}); {fix}")


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:5]))}{f' ... ({len(names)} in all)' if len(names) > 5 else ''}"
