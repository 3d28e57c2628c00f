"""Look at the data of a transfer config before the run: one clear line instead of a late traceback or a wrong score.

`data_findings` is the one list of checks. `tools/doctor.py` prints it; `check_data`, the tools' own look before they
start, stops at its first FAIL and logs its warnings. Checked are local files only; data behind an URL, LMDB and the
like are left to OpenMMLab.
"""
from __future__ import annotations

import logging
import os.path as osp
from collections import Counter
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.logging import print_log

from mimtransfer.checks import FAIL, OK, WARN, Finding, counted
from mimtransfer.checks.annotations import coco_problems, no_collection, read_coco
from mimtransfer.checks.channels import channel_findings
from mimtransfer.checks.class_folders import class_findings
from mimtransfer.checks.image_files import coco_images
from mimtransfer.checks.index_maps import map_findings
from mimtransfer.datasets.coco_ids import file_names
from mimtransfer.datasets.configured import classes_of, leaves, max_corrupt
from mimtransfer.errors import UserError, near_files
from mimtransfer.openmmlab.lvis_package import prepare_lvis

SPLITS = ("train", "val", "test")
_HEADS = ("bbox_head", "mask_head", "decode_head", "auxiliary_head")
_FILES_READ = 16  # images and index maps decoded in each data set before a run; all would take minutes on ADE20K


def check_data(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Check all data sets, evaluators and class counts that `cfg` names, and log what is strange.

    Raises:
        UserError: the first thing that cannot run, or gives a wrong score, in the line that doctor has for it.
    """
    for found in data_findings(cfg, splits, _FILES_READ):
        if found.level == FAIL:
            raise UserError(found.line)
        if found.level == WARN:
            print_log(found.line, logger="current", level=logging.WARNING)


def data_findings(cfg: Config, splits: tuple[str, ...] = SPLITS, count: int | None = None) -> Iterator[Finding]:
    """Yield what is wrong with the data of a transfer config.

    Args:
        count: images and index maps decoded in each data set, spread evenly; None: all.
    """
    yield from channel_findings(cfg)
    seen: list = []
    listed: dict[str, dict[str, set[int]]] = {}  # split -> image file -> its ids
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if not loader or (loader.dataset, cfg.get(f"{split}_evaluator")) in seen:
            continue
        seen.append((loader.dataset, cfg.get(f"{split}_evaluator")))
        listed[split] = {}
        for dataset in leaves(loader.dataset):
            if not (dataset.get("backend_args") or "://" in (dataset.get("data_root") or "")):
                yield from _dataset(cfg, dataset, split, count, listed[split])
        yield from _evaluator(cfg, split, loader.dataset)
        shared = [path for path in listed[split] if path in listed.get("train", ())] if split != "train" else []
        yield from counted(WARN, shared, f"images of the {split} data are also in the train data",
                           "the score is that of images learned by heart: split them")
    if cfg.get("task") == "classification":
        yield from class_findings(cfg, splits, count)


def _dataset(
    cfg: Config, dataset: dict, split: str, count: int | None, listed: dict[str, set[int]]
) -> Iterator[Finding]:
    where, root = f"{split} data", dataset.get("data_root") or ""
    if root and not osp.isdir(root):
        yield Finding(FAIL, f"{where}: folder {root!r} does not exist{near_files(root).replace(';', ',')}",
                      f"put the data there (docs/transfer.md), train on data of your own by --data DIR, or set "
                      f"{split}_dataloader.dataset.data_root")
        return
    try:
        classes = classes_of(dataset)
    except UserError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(FAIL, f"{where}: {what}", fix)
        return
    if classes:
        yield from _heads(cfg.model, len(classes), where)
    if str(dataset.get("ann_file", "")).endswith(".json") and "Panoptic" not in str(dataset.get("type")):
        yield from _coco(cfg, dataset, classes, split, count, listed)
    elif (dataset.get("data_prefix") or {}).get("seg_map_path") is not None:
        yield from map_findings(dataset, where, count, max_corrupt(dataset))


def _coco(
    cfg: Config, dataset: dict, classes: tuple[str, ...], split: str, count: int | None, listed: dict[str, set[int]]
) -> Iterator[Finding]:
    where, kind = f"{split} data", str(dataset.get("type")).rpartition(".")[2]
    path = osp.join(dataset.get("data_root") or "", dataset["ann_file"])
    if not osp.isfile(path):
        yield Finding(FAIL, f"{where}: annotation file {path!r} does not exist{near_files(path).replace(';', ',')}",
                      "check data_root and ann_file")
        return
    evaluators = _evaluators(cfg, split) if split != "train" else []
    labels_withheld = bool(evaluators) and all(evaluator.get("format_only") for evaluator in evaluators)
    coco, problem = read_coco(path, where, labels_withheld)
    if problem is not None:
        yield problem
    if coco is None:
        return
    with no_collection():
        problems = list(coco_problems(coco, classes, _learns_masks(cfg, dataset), split != "train",
                                      None if dataset.get("test_mode") else dataset.get("filter_cfg"),
                                      lvis=kind.startswith("LVIS")))
    yield from (found._replace(what=f"{where}, {path!r}: {found.what}") for found in problems)
    if any(found.level == FAIL for found in problems):
        return
    folder = osp.join(dataset.get("data_root") or "", (dataset.get("data_prefix") or {}).get("img") or "")
    names = file_names(coco, kind)
    sizes = [(im["width"], im["height"]) for im in coco["images"]]
    files = list(coco_images(names, sizes, folder, path, count, max_corrupt(dataset)))
    yield from (found._replace(what=f"{where}: {found.what}") for found in files)
    folder = osp.realpath(folder)
    for name, im in zip(names, coco["images"]):
        listed.setdefault(osp.join(folder, name), set()).add(im["id"])
    if not problems and not files:
        yield Finding(OK, f"{where}, {path}: {len(coco['images'])} images, {len(coco['annotations'])} annotations")
    inside = list(leaves(cfg[f"{split}_dataloader"].dataset))
    if evaluators and len(inside) > 1 and dataset is inside[-1] and not labels_withheld:
        yield from _joined(evaluators, split, len(inside), listed)


def _joined(evaluators: list, split: str, number: int, listed: dict[str, set[int]]) -> Iterator[Finding]:
    """A COCO evaluator tells images apart by their ids alone, of all data sets that are joined."""
    says = f"{split} data: {number} data sets are joined (ConcatDataset), but"
    fix = "evaluate each by a config of its own, or join the jsons with new ids"
    ids = Counter(i for numbers in listed.values() for i in numbers)
    if len(listed) < len(ids) or any(times > 1 for times in ids.values()) or any(len(n) > 1 for n in listed.values()):
        twice = [i for i, times in ids.items() if times > 1]
        yield Finding(FAIL, f"{says} image ids occur in more than one of them, e.g. {twice[:1] or 'of one file'}", fix)
    elif any(evaluator.get("ann_file") for evaluator in evaluators):
        yield Finding(FAIL, f"{says} {split}_evaluator.ann_file names one file", fix)


def _learns_masks(cfg: Config, dataset: dict) -> bool:
    steps = [step for step in dataset.get("pipeline") or () if isinstance(step, dict)]
    return any(key in str(cfg.get("model")) for key in ("mask_head", "panoptic_head")) or any(
        step.get("with_mask") for step in steps)


def _heads(model: dict, num_classes: int, where: str, path: str = "model") -> Iterator[Finding]:
    for key, value in model.items():
        for i, part in enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]:
            if not isinstance(part, dict):
                continue
            name = f"{path}.{key}" if i is None else f"{path}.{key}[{i}]"
            if key in _HEADS and part.get("num_classes", num_classes) != num_classes:
                yield Finding(FAIL, f"{where}: {num_classes} classes, but {name}.num_classes is {part['num_classes']}",
                              "make them equal")
            yield from _heads(part, num_classes, where, name)


def _evaluators(cfg: Config, split: str) -> list:
    evaluators = cfg.get(f"{split}_evaluator") or []
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def _evaluator(cfg: Config, split: str, dataset: dict) -> Iterator[Finding]:
    """A COCO evaluator reads its own annotation file: it must be the one of the data."""
    inside = list(leaves(dataset))
    for evaluator in _evaluators(cfg, split):
        if str(evaluator.get("type")).rpartition(".")[2] == "LVISMetric":
            try:
                prepare_lvis()
            except UserError as error:
                what, _, fix = str(error).partition("; ")
                yield Finding(FAIL, what, fix)
        ann_file = evaluator.get("ann_file")
        if not ann_file or len(inside) != 1 or "://" in ann_file:
            continue
        expected = osp.join(inside[0].get("data_root") or "", inside[0].get("ann_file", ""))
        if osp.realpath(ann_file) != osp.realpath(expected):
            yield Finding(FAIL, f"{split}_evaluator.ann_file is {ann_file!r}, but the {split} data use {expected!r}",
                          "make them equal")
