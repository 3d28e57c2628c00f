"""Let a config test what it has trained on other data: `tools/test.py CONFIG CKPT --data DIR`.

The classes are those of the model. Classes of boxes are matched by name, and the json that is tested is written in the
model's order, because mmdet numbers classes by the json. Masks and class folders must have the model's order.
"""
from __future__ import annotations

import json
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mmengine.config import Config, ConfigDict

from mimtransfer.checks.annotations import read_coco
from mimtransfer.cli.launch import load_config, set_work_dir
from mimtransfer.datasets.class_folders import class_images
from mimtransfer.datasets.configured import classes_of, leaves, name_of
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.boxes_only import learns_masks
from mimtransfer.own_data.configure import boxes, class_folders, maps, set_data, task_of
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.converted import OwnData, name_of_data
from mimtransfer.results.description import protocol_of
from mimtransfer.stored import read_text

_JSON = "annotations/tested.json"


def with_data(cfg: Config, path: str, cfg_options: list[str], source: str) -> Config:
    """Return the config of a test on other data, read anew: `--cfg-options` have the last word over them.

    Args:
        cfg: as read before, with the work dir of the test.
        path: of its file.

    Raises:
        UserError: as `set_test_data`.
    """
    work_dir, lines = cfg.work_dir, []
    cfg = load_config(path, cfg_options, prepare=lambda read: lines.extend(set_test_data(read, source, work_dir)))
    set_work_dir(cfg, work_dir, path)
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines), flush=True)
    return cfg


def set_test_data(cfg: Config, source: str, work_dir: str) -> list[str]:
    """Replace the data that a config tests on; those of its training stay, and so does its model.

    Args:
        cfg: of a training; of one that trains nothing (k-NN) all data are replaced, as in a training.
        source: folder, COCO json or data.yaml.
        work_dir: what is converted lies in `work_dir/tested_on_NAME`.

    Returns:
        what is tested, in lines.

    Raises:
        UserError: the data are broken, of another task, of other classes, or were trained on.
    """
    task, out = task_of(cfg), osp.join(work_dir, f"tested_on_{name_of_data(source)}")
    if cfg.get("train_cfg") is None:
        data = convert(source, out, task)
        return [*data.summary(), *set_data(cfg, data)]
    if not cfg.get("test_dataloader"):
        raise UserError("--data: the config has no test_dataloader, whose pipeline and batch a test takes; add one")
    data = convert(source, out, task, tested=True)
    split = next(iter(data.splits))
    setting = {"detection": _set_boxes, "segmentation": _set_maps, "classification": _set_folders}[task]
    lines = setting(cfg, data, split, osp.abspath(out))
    _check_unseen(cfg, source)
    cfg.protocol = f"{protocol_of(cfg)}, tested on {data.name}" + (", boxes only" if lines else "")
    return [*data.summary(), *lines]


def _set_boxes(cfg: Config, data: OwnData, split: str, out: str) -> list[str]:
    old, lines, metric = cfg.test_dataloader.dataset, [], ["bbox"]
    classes = classes_of(next(leaves(old)))
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
        lines.append("The data have no masks: box AP alone is scored")
        for step in new.pipeline:
            if name_of(step) == "LoadAnnotations":
                step.pop("with_mask", None)
    new.metainfo = {**(next(leaves(old)).get("metainfo") or {}), "classes": classes}
    cfg.test_dataloader.dataset = new
    cfg.test_evaluator = ConfigDict(type="CocoMetric", ann_file=osp.join(out, _JSON), metric=metric)
    return lines


def _in_order(content: dict[str, Any], classes: Sequence[str], source: str) -> dict[str, Any]:
    """Return a COCO json whose categories are the model's classes, in their order, numbered from 1."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    numbers = {name: number for number, name in enumerate(classes, 1)}
    used = dict.fromkeys(names[entry["category_id"]] for entry in content["annotations"])
    unknown = [name for name in used if name not in numbers]
    if unknown:
        raise UserError(f"--data {source}: {unknown[0]!r} is no class of the model ({_some(classes)}); rename it, or "
                        "remove its objects")
    annotations = [{**entry, "category_id": numbers[names[entry["category_id"]]]} for entry in content["annotations"]]
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {**content, "annotations": annotations, "categories": categories}


def _set_maps(cfg: Config, data: OwnData, split: str, out: str) -> list[str]:
    old = cfg.test_dataloader.dataset
    classes = classes_of(next(leaves(old)))
    if tuple(data.classes) != tuple(classes[: len(data.classes)]):
        raise UserError(f"--data {data.source}: its classes are {_some(data.classes)}, the model's {_some(classes)}; "
                        "write classes.txt with the model's names in their order, and masks with their numbers")
    new = maps(old, data, split, trained=False)
    new.metainfo = {**(next(leaves(old)).get("metainfo") or {}), "classes": classes}
    cfg.test_dataloader.dataset = new
    cfg.test_evaluator = ConfigDict(type="IoUMetric", iou_metrics=["mIoU"])
    return []


def _set_folders(cfg: Config, data: OwnData, split: str, out: str) -> list[str]:
    trained = next(leaves(cfg.train_dataloader.dataset))
    there = name_of(trained) == "ClassFolder" and osp.isdir(osp.expanduser(trained.root))
    classes = class_images(osp.expanduser(trained.root)).classes if there else None
    number = cfg.model.get("num_classes")
    if len(data.classes) != number or classes not in (None, list(data.classes)):
        said = f"{number} classes" if classes is None else _some(classes)
        raise UserError(f"--data {data.source}: its class folders are {_some(data.classes)}, the model has {said}; "
                        "give the same folders")
    cfg.test_dataloader.dataset = class_folders(cfg.test_dataloader.dataset, data, split)
    return []


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
    """Yield the real paths of the images of a data set as `--data` sets them; none where its files are not there."""
    kind, root = name_of(dataset), dataset.get("data_root") or ""
    listed = osp.join(root, dataset.get("ann_file") or "")
    if kind == "ClassFolder" and osp.isdir(osp.expanduser(dataset.root)):
        yield from (osp.realpath(path) for path, _ in class_images(osp.expanduser(dataset.root)).samples)
    elif kind == "CocoDataset" and osp.isfile(listed):
        coco, _ = read_coco(listed, "data")
        folder = osp.join(root, (dataset.get("data_prefix") or {}).get("img") or "")
        yield from (osp.realpath(osp.join(folder, entry["file_name"])) for entry in (coco or {"images": []})["images"])
    elif kind == "BaseSegDataset" and osp.isfile(listed):
        names = [line.strip() for line in read_text(listed, "convert the data again").splitlines() if line.strip()]
        suffix = dataset.get("img_suffix", ".jpg")
        yield from (osp.realpath(osp.join(root, dataset.data_prefix.img_path, name + suffix)) for name in names)


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:5]))}{f' ... ({len(names)} in all)' if len(names) > 5 else ''}"
