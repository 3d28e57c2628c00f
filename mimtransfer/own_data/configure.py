"""Let a config train on a converted data set: loaders, classes, heads, evaluators, the name of the protocol."""
from __future__ import annotations

import copy
import os.path as osp
from typing import Any

from mmengine.config import Config, ConfigDict

from mimtransfer.datasets.configured import leaves, name_of
from mimtransfer.errors import UserError, near_files
from mimtransfer.own_data.boxes_only import drop_masks, learns_masks, load_no_masks
from mimtransfer.own_data.converted import OwnData
from mimtransfer.own_data.heads import set_num_classes
from mimtransfer.results.description import protocol_of

_KEPT_OF_BOXES = ("filter_cfg", "backend_args")
_KEPT_OF_FOLDERS = ("transform", "fraction", "images_per_class", "seed", "max_corrupt")
_KEPT_OF_IMAGES = ("transform", "max_corrupt", "decoder", "in_chans", "augment", "seed")


def set_data(cfg: Config, data: OwnData, name: str | None = None) -> list[str]:
    """Replace the data of a config; its pipelines stay.

    Args:
        name: of the data in the protocol; None: their own.

    Returns:
        what was changed beside the data, in lines.

    Raises:
        UserError: the config is of another task, or its model cannot learn from these data.
    """
    task = task_of(cfg)
    if data.kind != task:
        raise UserError(f"data {data.source!r} are for {data.kind}, but the config is of {task}; choose a config of "
                        f"{data.kind}")
    setting = {"detection": _set_boxes, "segmentation": _set_maps, "classification": _set_folders}[task]
    lines = setting(cfg, data)
    cfg.protocol = f"{protocol_of(cfg)}, on {name or data.name}" + (", boxes only" if lines else "")
    return lines


def set_images(cfg: Config, folder: str) -> str:
    """Let a pretraining see the images of a folder; no labels are needed.

    Returns:
        what it sees, in one line.

    Raises:
        UserError: there is no such folder.
    """
    if not osp.isdir(folder):
        near = near_files(folder).replace(";", ",")
        raise UserError(f"data {folder!r} are no folder{near}; give a folder of images, or set "
                        "train_dataloader.dataset of a config for other sources (docs/data.md)")
    dataset = next(leaves(cfg.train_dataloader.dataset))
    kept = {key: dataset[key] for key in _KEPT_OF_IMAGES if key in dataset}
    cfg.train_dataloader.dataset = ConfigDict(kept, type="ImageFolder", root=osp.abspath(folder))
    return f"Data: {folder} (images without labels)"


def task_of(cfg: Config) -> str:
    """Return detection, segmentation or classification.

    Raises:
        UserError: the config is of none of them.
    """
    task = cfg.get("task") or {"mmdet": "detection", "mmseg": "segmentation"}.get(cfg.get("default_scope"))
    if task not in ("detection", "segmentation", "classification"):
        raise UserError("--data and --quick are for pretraining, detection, segmentation and classification; this "
                        f"config is of {task or 'no known task'}")
    return task


def _set_boxes(cfg: Config, data: OwnData) -> list[str]:
    lines = []
    if not data.masks:
        lines += [drop_masks(cfg, data.source)] if learns_masks(cfg) else []
        load_no_masks(cfg)
    set_num_classes(cfg, len(data.classes))
    for name, split in _splits(data).items():
        loader = cfg.get(f"{name}_dataloader")
        if not loader:
            continue
        loader.dataset = boxes(loader.dataset, data, split, data.splits[split].labels, name == "train")
        if name != "train":
            metric = ["bbox", "segm"] if learns_masks(cfg) else "bbox"
            cfg[f"{name}_evaluator"] = ConfigDict(type="CocoMetric", ann_file=data.path(split), metric=metric)
    return lines


def _set_maps(cfg: Config, data: OwnData) -> list[str]:
    memory = (cfg.get("test_cfg") or {}).get("memory_dataloader")  # of probes of frozen patch tokens
    if not memory:
        set_num_classes(cfg, len(data.classes))
    loaders = [(name, cfg.get(f"{name}_dataloader"), split) for name, split in _splits(data).items()]
    for name, loader, split in [*loaders, ("memory", memory, "train")]:
        if not loader:
            continue
        loader.dataset = maps(loader.dataset, data, split, name not in ("val", "test"))
        if name in ("val", "test") and not memory:
            cfg[f"{name}_evaluator"] = ConfigDict(type="IoUMetric", iou_metrics=["mIoU"])
    return []


def _set_folders(cfg: Config, data: OwnData) -> list[str]:
    if "num_classes" in cfg.model:
        set_num_classes(cfg, len(data.classes))
    loaders = [(cfg.get(f"{name}_dataloader"), split) for name, split in _splits(data).items()]
    memory = (cfg.get("test_cfg") or {}).get("memory_dataloader")
    for loader, split in [*loaders, (memory, "train")]:
        if loader:
            loader.dataset = class_folders(loader.dataset, data, split)
    for name in ("val_evaluator", "test_evaluator"):
        evaluator = cfg.get(name)
        if isinstance(evaluator, dict) and "topk" in evaluator:
            evaluator["topk"] = tuple(k for k in evaluator["topk"] if k <= len(data.classes)) or (1,)
    return []


def boxes(old: ConfigDict, data: OwnData, split: str, labels: str, trained: bool) -> ConfigDict:
    """Return the data set of a split, with the pipeline of the old one.

    Args:
        labels: COCO json, below the folder of the conversion, or absolute.
    """
    kept = {key: value for key, value in next(leaves(old)).items() if key in _KEPT_OF_BOXES}
    return ConfigDict(
        kept, type="CocoDataset", data_root=data.folder, ann_file=labels,
        data_prefix=dict(img=data.splits[split].images + "/"), metainfo=dict(classes=data.classes),
        pipeline=copy.deepcopy(_pipeline(old)), test_mode=not trained,
    )


def maps(old: ConfigDict, data: OwnData, split: str, trained: bool) -> ConfigDict:
    """Return the data set of a split of images with masks, as `boxes` does."""
    pipeline = copy.deepcopy(_pipeline(old))
    for step in pipeline:
        if name_of(step) == "LoadAnnotations":
            step.pop("reduce_zero_label", None)
    return ConfigDict(
        type="BaseSegDataset", data_root=data.folder, ann_file=data.splits[split].names, img_suffix="",
        seg_map_suffix=".png", data_prefix=dict(img_path=data.splits[split].images, seg_map_path="masks"),
        metainfo=dict(classes=data.classes), reduce_zero_label=False, pipeline=pipeline, test_mode=not trained,
    )


def class_folders(old: ConfigDict, data: OwnData, split: str) -> ConfigDict:
    """Return the data set of a split of class folders."""
    kept = {key: copy.deepcopy(value) for key, value in next(leaves(old)).items() if key in _KEPT_OF_FOLDERS}
    return ConfigDict(kept, type="ClassFolder", root=data.path(split))


def _splits(data: OwnData) -> dict[str, str]:
    return {"train": "train", "val": "val", "test": "test" if "test" in data.splits else "val"}


def _pipeline(dataset: Any) -> list:
    """Return the pipeline of a data set; of one that mixes images, that of the wrapper follows."""
    inner = list(next(leaves(dataset)).get("pipeline") or ())
    outer = list(dataset.get("pipeline") or ()) if "dataset" in dataset else []
    if not inner:
        raise UserError("--data: the data set of the config has no pipeline, so nothing says how images are loaded; "
                        "choose another config")
    mixing = [name_of(step) for step in outer if name_of(step) in ("Mosaic", "MixUp", "CopyPaste", "CachedMosaic")]
    if mixing:
        raise UserError(f"--data: the config mixes images ({', '.join(mixing)}), which has to be set by hand; choose "
                        "another config")
    return inner + outer
