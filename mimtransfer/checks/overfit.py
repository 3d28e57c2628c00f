"""Train on a few images and evaluate on the same: a pipeline that cannot learn these by heart is broken.

Labels, boxes, normalisation, optimizer and evaluation are those of the config; what works against learning by heart is
switched off (random augmentation, drop path, dropout, lr scaling), and so is the record: the score is no result.
"""
from __future__ import annotations

import json
import math
import os
import os.path as osp
from collections import Counter, defaultdict

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS

from mimtransfer.datasets.coco_ids import file_names
from mimtransfer.datasets.configured import classes_of, leaves
from mimtransfer.datasets.label_subset import label_subsets
from mimtransfer.errors import UserError

MAX_ITERS = 600
# What a healthy pipeline reaches on a handful of images: name of the metric, its threshold, how users know it.
GOALS = {"mmdet": ("coco/bbox_mAP_50", 0.85, "box AP50"), "mmseg": ("mIoU", 70.0, "mIoU")}
_RANDOM = ("RandomFlip", "PhotoMetricDistortion", "RandomErasing", "CutOut", "RandomRotate", "RandomAffine")
# Shorter objects, by the root of their box in the network's input, are two cells of its finest map (stride 4): learned
# last, or never, by a pipeline that works.
SMALLEST = 8


def set_overfit(cfg: Config, num_images: int, max_iters: int | None = None) -> str:
    """Turn a detection or segmentation config into one that trains and evaluates on `num_images` training images.

    The images are spread evenly over the training set; of a detection set only images with boxes count. Call it after
    `set_work_dir` (the subset of a COCO json is written there) and `enter_scope`.

    Args:
        max_iters: at most; the training ends when the goal is reached. Default `MAX_ITERS`.

    Returns:
        How many objects are too small to be learned and do not count for the goal, or "".

    Raises:
        UserError: the config is of another task, the training set has fewer images, or all objects are too small.
    """
    scope = cfg.get("default_scope")
    if scope not in GOALS or cfg.get("train_dataloader") is None:
        raise UserError(f"--overfit: expected a detection or segmentation config, got one of task {cfg.get('task')!r}")
    if num_images < 1:
        raise UserError(f"--overfit {num_images}: expected at least 1 image")
    if max_iters is not None and max_iters < 1:
        raise UserError(f"--overfit-iters {max_iters}: expected at least 1 iteration")
    if label_subsets(cfg):
        raise UserError(f"--overfit {num_images} chooses its own images; leave out label_share and label_shots")
    dataset = next(leaves(cfg.train_dataloader.dataset))
    subset = _coco_subset if str(dataset.get("ann_file", "")).endswith(".json") else _map_subset
    note = subset(cfg, dataset, num_images)
    _set_data(cfg, dataset, num_images)
    _set_model(cfg.model)
    _set_schedule(cfg, max_iters or MAX_ITERS)
    return note


def _coco_subset(cfg: Config, dataset: dict, num_images: int) -> str:
    """Write the json of some images that hold boxes of the config's classes; the evaluator reads the same, or one in
    which small objects are crowds, which count neither as found nor as missed.
    """
    path = osp.join(dataset.get("data_root") or "", dataset["ann_file"])
    with open(path, encoding="utf-8") as file:
        coco = json.load(file)
    classes = classes_of(dataset)
    wanted = {category["id"] for category in coco["categories"] if not classes or category["name"] in classes}
    boxes = defaultdict(list)
    for annotation in coco["annotations"]:
        if annotation["category_id"] in wanted and not annotation.get("iscrowd") and min(annotation["bbox"][2:]) >= 1:
            boxes[annotation["image_id"]].append(annotation)
    least = (dataset.get("filter_cfg") or {}).get("min_size", 0)
    images = [im for im in coco["images"] if im["id"] in boxes and min(im["width"], im["height"]) >= least]
    images = [images[i] for i in _spread(len(images), num_images, path)]
    os.makedirs(cfg.work_dir, exist_ok=True)
    subset = {**coco, "images": images, "annotations": [box for im in images for box in boxes[im["id"]]]}
    out = evaluated = _write(cfg, f"overfit_{num_images}.json", subset)
    note, small = "", _small_objects(cfg, dataset, subset, path)
    if small:
        marked = [{**box, "iscrowd": 1, "ignore": 1} if box["id"] in small else box for box in subset["annotations"]]
        evaluated = _write(cfg, f"overfit_{num_images}_goal.json", {**subset, "annotations": marked})
        note = (f"{len(small)} of {len(marked)} objects are under {SMALLEST} pixels in the network's input and do not "
                f"count for the goal: {_named(coco, subset, small)}")
    dataset["ann_file"] = out
    cfg.val_evaluator = cfg.get("val_evaluator") or cfg.test_evaluator
    for evaluator in cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]:
        if "ann_file" in evaluator:
            evaluator["ann_file"] = evaluated
    return note


def _write(cfg: Config, name: str, coco: dict) -> str:
    path = osp.abspath(osp.join(cfg.work_dir, name))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(coco, file)
    return path


def _small_objects(cfg: Config, dataset: dict, subset: dict, path: str) -> set[int]:
    """Return ids of the objects that are under `SMALLEST` in the images as the pipeline of the evaluation has them."""
    evaluated = next(leaves((cfg.get("val_dataloader") or cfg.test_dataloader).dataset))
    pipeline = Compose([step for step in evaluated.pipeline if not _name(step).endswith("LoadAnnotations")])
    folder = osp.join(dataset.get("data_root") or "", (dataset.get("data_prefix") or {}).get("img") or "")
    names = file_names(subset, _name(dataset))
    factors = {}
    for name, im in zip(names, subset["images"]):
        packed = pipeline(dict(img_path=osp.join(folder, name), img_id=im["id"]))
        width, height = packed["data_samples"].metainfo.get("scale_factor", (1.0, 1.0))
        factors[im["id"]] = math.sqrt(width * height)
    sides = {box["id"]: math.sqrt(box["bbox"][2] * box["bbox"][3]) * factors[box["image_id"]]
             for box in subset["annotations"]}
    if max(sides.values()) < SMALLEST:
        raise UserError(f"--overfit: all {len(sides)} objects in the chosen images of {path!r} are under {SMALLEST} "
                        "pixels in the network's input; give more images, or raise the scale of the pipelines")
    return {i for i, side in sides.items() if side < SMALLEST}


def _named(coco: dict, subset: dict, small: set[int]) -> str:
    names = {category["id"]: category["name"] for category in coco["categories"]}
    counts = Counter(names[box["category_id"]] for box in subset["annotations"] if box["id"] in small)
    listed = ", ".join(f"{number} {name}" for name, number in counts.most_common(5))
    return listed + (" ..." if len(counts) > 5 else "")


def _map_subset(cfg: Config, dataset: dict, num_images: int) -> str:
    """Choose images with index maps by number; the data set counts them."""
    whole = DATASETS.build({**dataset, "lazy_init": False})
    dataset["indices"] = _spread(len(whole), num_images, dataset.get("data_root") or "the training set")
    return ""


def _spread(total: int, count: int, where: str) -> list[int]:
    if count > total:
        raise UserError(f"--overfit {count}: {where!r} has only {total} images to learn from; give a smaller number")
    return [i * total // count for i in range(count)]


def _set_data(cfg: Config, dataset: dict, num_images: int) -> None:
    loader, evaluated = cfg.train_dataloader, cfg.get("val_dataloader") or cfg.test_dataloader
    pipeline = next(leaves(evaluated.dataset)).pipeline
    # In test mode mmdet would skip the filter of the training set, hence number the images otherwise.
    evaluated.dataset = Config(dict(d={**dataset, "pipeline": pipeline, "test_mode": False})).d
    evaluated.sampler, evaluated.batch_sampler = dict(type="DefaultSampler", shuffle=False), None
    dataset["pipeline"] = [_still(step) for step in dataset["pipeline"] if _name(step) not in _RANDOM]
    # Batch normalisation of pooled maps needs two values for each channel: a single image is shown twice.
    loader.dataset, loader.batch_size = dataset, max(2, min(loader.batch_size, num_images))
    loader.sampler, loader.batch_sampler = dict(type="InfiniteSampler", shuffle=True), None
    cfg.val_dataloader = evaluated
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None


def _still(step: dict) -> dict:
    """Take the jitter of the scale out of a transform; crops stay, for they set the size of a batch."""
    return {**step, "ratio_range": (1.0, 1.0)} if "ratio_range" in step else step


def _name(step: dict) -> str:
    return str(step["type"]).rpartition(".")[2]


def _set_model(model: dict) -> None:
    for key, value in model.items():
        if key in ("drop_path_rate", "dropout_ratio"):
            model[key] = 0.0
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, dict):
                _set_model(part)


def _set_schedule(cfg: Config, max_iters: int) -> None:
    metric, goal, _ = GOALS[cfg.default_scope]
    warmup, interval = max(max_iters // 20, 1), max(max_iters // 6, 1)
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=interval)
    cfg.val_cfg = cfg.get("val_cfg") or dict(type="ValLoop")
    cfg.optim_wrapper.pop("accumulative_counts", None)
    cfg.auto_scale_lr = dict(enable=False)
    cfg.param_scheduler = [
        dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warmup),
        dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=warmup, T_max=max_iters - warmup,
             end=max_iters),
    ]
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=interval, max_keep_ckpts=2)
    cfg.default_hooks.logger = dict(type="LoggerHook", interval=20, log_metric_by_epoch=False)
    cfg.log_processor = dict(type="LogProcessor", window_size=20, by_epoch=False)
    cfg.custom_hooks = [
        dict(type="mimtransfer.PredictionPictureHook"),
        dict(type="EarlyStoppingHook", monitor=metric, rule="greater", stopping_threshold=goal, patience=max_iters),
    ]
