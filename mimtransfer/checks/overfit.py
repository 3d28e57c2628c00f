"""Train on a few images and evaluate on the same: a pipeline that cannot learn these by heart is broken.

Labels, boxes, normalisation, optimizer and evaluation are those of the config; what works against learning by heart is
switched off (random augmentation, drop path, dropout, lr scaling), and so is the record: the score is no result.
"""
from __future__ import annotations

import json
import os
import os.path as osp
from collections import defaultdict

from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mimtransfer.datasets.configured import classes_of, leaves
from mimtransfer.errors import UserError

MAX_ITERS = 600
# What a healthy pipeline reaches on a handful of images: name of the metric, its threshold, how users know it.
GOALS = {"mmdet": ("coco/bbox_mAP_50", 0.85, "box AP50"), "mmseg": ("mIoU", 70.0, "mIoU")}
_RANDOM = ("RandomFlip", "PhotoMetricDistortion", "RandomErasing", "CutOut", "RandomRotate", "RandomAffine")
_SUSPECTS = (
    "look at the pictures in vis_data, at the lr groups and the load report above, then at num_classes, the order of "
    "the categories, reduce_zero_label, and box sizes after the resize"
)


def set_overfit(cfg: Config, num_images: int, max_iters: int | None = None) -> None:
    """Turn a detection or segmentation config into one that trains and evaluates on `num_images` training images.

    The images are spread evenly over the training set; of a detection set only images with boxes count. Call it after
    `set_work_dir` (the subset of a COCO json is written there) and `enter_scope`.

    Args:
        max_iters: at most; the training ends when the goal is reached. Default `MAX_ITERS`.

    Raises:
        UserError: the config is of another task, or the training set has fewer images.
    """
    scope = cfg.get("default_scope")
    if scope not in GOALS or cfg.get("train_dataloader") is None:
        raise UserError(f"--overfit: expected a detection or segmentation config, got one of task {cfg.get('task')!r}")
    if num_images < 1:
        raise UserError(f"--overfit {num_images}: expected at least 1 image")
    dataset = next(leaves(cfg.train_dataloader.dataset))
    subset = _coco_subset if str(dataset.get("ann_file", "")).endswith(".json") else _map_subset
    subset(cfg, dataset, num_images)
    _set_data(cfg, dataset, num_images)
    _set_model(cfg.model)
    _set_schedule(cfg, max_iters or MAX_ITERS)


def verdict(runner: Runner) -> tuple[bool, str]:
    """Say whether the run learned its images by heart, and what to look at when it did not."""
    metric, goal, name = GOALS[runner.cfg.default_scope]
    scores = runner.message_hub.log_scalars.get(f"val/{metric}")
    score = scores.current() if scores is not None else float("nan")
    scale = 100 if goal <= 1 else 1
    text = f"{name} {score * scale:.1f} on the {len(runner.train_dataloader.dataset)} images it was trained on"
    if score >= goal:
        return True, f"overfit: passed: {text} after {runner.iter} iterations (goal {goal * scale:.0f})"
    return False, f"overfit: FAILED: {text} after {runner.iter} iterations, expected {goal * scale:.0f}; {_SUSPECTS}"


def _coco_subset(cfg: Config, dataset: dict, num_images: int) -> None:
    """Write the json of some images that hold boxes of the config's classes; the evaluator reads the same."""
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
    out = osp.abspath(osp.join(cfg.work_dir, f"overfit_{num_images}.json"))
    with open(out, "w", encoding="utf-8") as file:
        json.dump({**coco, "images": images, "annotations": [box for im in images for box in boxes[im["id"]]]}, file)
    dataset["ann_file"] = out
    cfg.val_evaluator = cfg.get("val_evaluator") or cfg.test_evaluator
    for evaluator in cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]:
        if "ann_file" in evaluator:
            evaluator["ann_file"] = out


def _map_subset(cfg: Config, dataset: dict, num_images: int) -> None:
    """Choose images with index maps by number; the data set counts them."""
    whole = DATASETS.build({**dataset, "lazy_init": False})
    dataset["indices"] = _spread(len(whole), num_images, dataset.get("data_root") or "the training set")


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
