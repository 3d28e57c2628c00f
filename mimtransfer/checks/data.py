"""Look at the data of a transfer config before the run: one clear line instead of a late traceback.

Checked are local files only; data behind an URL, LMDB and the like are left to OpenMMLab.
"""
from __future__ import annotations

import json
import os
import os.path as osp

import numpy as np
from mmengine.config import Config
from PIL import Image

from mimtransfer.datasets.class_names import class_names
from mimtransfer.datasets.configured import argument, classes_of, leaves
from mimtransfer.errors import UserError
from mimtransfer.openmmlab.lvis_package import prepare_lvis

_HEADS = ("bbox_head", "mask_head", "decode_head", "auxiliary_head")
_MAPS_READ = 8  # index maps opened per split; all of them would cost minutes on ADE20K


def check_data(cfg: Config, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
    """Check all data sets, evaluators and class counts that `cfg` names.

    Raises:
        UserError: a folder, annotation file or image is missing, an annotation file is empty or unreadable, its
            categories are not the classes of the config, an index map holds other values, or a head has another
            number of classes than the data.
    """
    seen = []
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if not loader or loader.dataset in seen:
            continue
        seen.append(loader.dataset)
        for dataset in leaves(loader.dataset):
            if dataset.get("backend_args") or "://" in (dataset.get("data_root") or ""):
                continue
            where = f"{split} data"
            root = dataset.get("data_root") or ""
            if root and not osp.isdir(root):
                raise UserError(f"{where}: folder {root!r} does not exist; put the data there (docs/transfer.md) or "
                                f"set {split}_dataloader.dataset.data_root")
            classes = classes_of(dataset)
            if str(dataset.get("ann_file", "")).endswith(".json"):
                _check_coco(dataset, root, classes, where)
            elif "seg_map_path" in dataset.get("data_prefix", {}):
                _check_maps(dataset, root, classes, where)
            if classes:
                _check_heads(cfg.model, len(classes), where)
        _check_evaluator(cfg, split, loader.dataset)
    if cfg.get("task") == "classification" and "num_classes" in cfg.model:
        _check_class_numbers(cfg, splits)


def _check_class_numbers(cfg: Config, splits: tuple[str, ...]) -> None:
    """A classifier needs as many outputs as there are classes, and the same classes in every split."""
    found = {split: _folders_of_classes(cfg[f"{split}_dataloader"].dataset) for split in splits}
    for split, classes in found.items():
        if classes is not None and len(classes) != cfg.model.num_classes:
            raise UserError(f"{split} data: {len(classes)} classes, but model.num_classes is {cfg.model.num_classes}; "
                            "make them equal")
    named = {split: classes for split, classes in found.items() if classes is not None}
    first = next(iter(named), "")
    for split, classes in named.items():
        if odd := sorted(classes ^ named[first])[:5]:
            raise UserError(f"the {first} data and the {split} data have other classes; not in both: {', '.join(odd)}")


def _folders_of_classes(dataset: dict) -> set[str] | None:
    """Return the names of a ClassFolder's classes, tested or not; None for other data sets, which know theirs, or
    without a folder.
    """
    root = osp.expanduser(dataset.get("root") or "")
    if str(dataset.get("type")).rpartition(".")[2] != "ClassFolder" or not osp.isdir(root):
        return None
    if dataset.get("trained_classes") is not None:
        return set(class_names(dataset["trained_classes"]))
    return {entry.name for entry in os.scandir(root) if entry.is_dir()}


def _check_coco(dataset: dict, root: str, classes: tuple[str, ...], where: str) -> None:
    path = osp.join(root, dataset["ann_file"])
    if not osp.isfile(path):
        raise UserError(f"{where}: annotation file {path!r} does not exist; check data_root and ann_file")
    try:
        with open(path, encoding="utf-8") as file:
            coco = json.load(file)
        images, annotations, categories = coco["images"], coco["annotations"], coco["categories"]
        if not all(isinstance(part, list) and all(isinstance(entry, dict) for entry in part)
                   for part in (images, annotations, categories)):
            raise ValueError("a list of objects each was expected")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: {path!r} is no COCO json with images, annotations and categories ({error!r}); "
                        "write one, or convert yours") from None
    if not images or not annotations:
        raise UserError(f"{where}: {path!r} lists {len(images)} images and {len(annotations)} annotations, expected "
                        "some of both; check how it was written")
    for part, entries, key in (("images", images, "file_name"), ("categories", categories, "name")):
        if odd := [entry for entry in entries if not isinstance(entry.get(key), str) or "\0" in entry[key]]:
            raise UserError(f"{where}: {path!r}: {len(odd)} {part} have no {key} that is a text, the first is "
                            f"{repr(odd[0])[:80]}; write them")
    names = [category["name"] for category in categories]
    absent = [name for name in classes if name not in names]
    if absent:
        raise UserError(f"{where}: {path!r} has no category {', '.join(map(repr, absent[:5]))}"
                        f"{' ...' if len(absent) > 5 else ''} but {', '.join(map(repr, names[:5]))}"
                        f"{' ...' if len(names) > 5 else ''}; set dataset.metainfo=dict(classes=...) to its names")
    folder = osp.join(root, dataset.get("data_prefix", {}).get("img", ""))
    listed: dict[str, set[str]] = {}
    missing = [im["file_name"] for im in images if not _exists(osp.join(folder, im["file_name"]), listed)]
    if missing:
        raise UserError(f"{where}: {path!r} lists {len(images)} images but {len(missing)} of them are not in "
                        f"{folder!r}, the first is {missing[0]!r}; copy them there or set data_prefix=dict(img=...)")


def _exists(path: str, listed: dict[str, set[str]]) -> bool:
    """Say whether a file is there; each folder is read once (COCO has 118 k images in one)."""
    folder, name = osp.split(path)
    if folder not in listed:
        listed[folder] = set(os.listdir(folder)) if osp.isdir(folder) else set()
    return name in listed[folder]


def _check_maps(dataset: dict, root: str, classes: tuple[str, ...], where: str) -> None:
    prefix = dataset["data_prefix"]
    images, maps = osp.join(root, prefix.get("img_path") or ""), osp.join(root, prefix["seg_map_path"] or "")
    for folder in (images, maps):
        if not osp.isdir(folder):
            raise UserError(f"{where}: folder {folder!r} does not exist; check data_root and data_prefix")
    if dataset.get("ann_file"):
        return  # a list file; mmseg reads it
    image_suffix, map_suffix = argument(dataset, "img_suffix"), argument(dataset, "seg_map_suffix")
    stems = sorted(
        osp.relpath(osp.join(at, name), images)[: -len(image_suffix)]
        for at, _, files in os.walk(images) for name in files if name.endswith(image_suffix)
    )
    if not stems:
        raise UserError(f"{where}: no *{image_suffix} in {images!r}; check data_prefix and img_suffix")
    listed: dict[str, set[str]] = {}
    missing = [s for s in stems if not _exists(osp.join(maps, s) + map_suffix, listed)]
    if missing:
        raise UserError(f"{where}: {len(missing)} of {len(stems)} images have no index map in {maps!r}, the first "
                        f"missing is {missing[0] + map_suffix!r}; add the maps or check seg_map_suffix")
    reduce_zero, ignore = argument(dataset, "reduce_zero_label"), dataset.get("ignore_index", 255)
    allowed = set(range(len(classes) + 1)) if reduce_zero else set(range(len(classes)))
    for stem in stems[:: max(1, len(stems) // _MAPS_READ)]:
        path = osp.join(maps, stem) + map_suffix
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        if pixels.ndim != 2:
            raise UserError(f"{where}: {path!r} has shape {pixels.shape}, expected one class index per pixel; convert "
                            "the colours to indices")
        values = set(np.unique(pixels).tolist()) - {ignore, 255}
        if classes and values - allowed:
            raise UserError(f"{where}: {path!r} holds index {max(values)}, but {len(classes)} classes with "
                            f"reduce_zero_label={reduce_zero} allow 0 to {max(allowed)} and {ignore}; check both")


def _check_heads(model: dict, num_classes: int, where: str, path: str = "model") -> None:
    for key, value in model.items():
        for i, part in enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]:
            if not isinstance(part, dict):
                continue
            name = f"{path}.{key}" if i is None else f"{path}.{key}[{i}]"
            if key in _HEADS and part.get("num_classes", num_classes) != num_classes:
                raise UserError(f"{where}: {num_classes} classes, but {name}.num_classes is {part['num_classes']}; "
                                "make them equal")
            _check_heads(part, num_classes, where, name)


def _check_evaluator(cfg: Config, split: str, dataset: dict) -> None:
    """A COCO evaluator reads its own annotation file: it must be the one of the data."""
    evaluators = cfg.get(f"{split}_evaluator") or []
    inside = list(leaves(dataset))
    for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        if str(evaluator.get("type")).rpartition(".")[2] == "LVISMetric":
            prepare_lvis()
        ann_file = evaluator.get("ann_file")
        if not ann_file or len(inside) != 1 or "://" in ann_file:
            continue
        expected = osp.join(inside[0].get("data_root") or "", inside[0].get("ann_file", ""))
        if osp.realpath(ann_file) != osp.realpath(expected):
            raise UserError(f"{split}_evaluator.ann_file is {ann_file!r}, but the {split} data use {expected!r}; "
                            "make them equal")
