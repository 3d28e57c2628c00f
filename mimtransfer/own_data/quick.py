"""Make any config a look-see of minutes on a CPU: a ViT-Ti, small images, few of them, a short schedule of its own.

It shows that data, labels and the way from pretraining to score work. Its score says nothing of the recipe.
"""
from __future__ import annotations

import json
import os
import os.path as osp
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mimtransfer.checks.image_files import spread
from mimtransfer.datasets.configured import dicts_in, leaves, name_of
from mimtransfer.files import write_atomically
from mimtransfer.own_data.image_size import nearest_size, set_image_size
from mimtransfer.own_data.tiny import tiny_model
from mimtransfer.training.recipes import iteration_cosine, warmup_cosine

_SIDES = {"detection": 256, "segmentation": 224, "classification": 128, "pretraining": 128}
_BATCHES = {"detection": 4, "segmentation": 4, "classification": 16, "pretraining": 16}
_ITERS, _EPOCHS = 100, 3
_IMAGES, _EVALUATED = 512, 100  # of training by epochs, and of an evaluation, at most
_LR, _LAYER_DECAY = 5e-4, 0.9


def set_quick(
    cfg: Config, task: str, work_dir: str, keep_backbone: bool, sized: bool = False, processes: int = 1
) -> None:
    """Make a config small.

    Args:
        task: detection, segmentation, classification or pretraining.
        work_dir: the json of the evaluated images is written to its folder `quick`.
        keep_backbone: whether a checkpoint is loaded into it that is of another size than ViT-Ti.
        sized: whether the image size is given by another option.
        processes: that train; each has a batch of its own.
    """
    tiny_model(cfg.model, keep_backbone)
    if not sized:
        set_image_size(cfg, nearest_size(cfg, _SIDES[task]))
    _set_loaders(cfg, task, work_dir, processes)
    if cfg.get("train_cfg") is not None:
        _set_schedule(cfg, task)


def _set_loaders(cfg: Config, task: str, work_dir: str, processes: int) -> None:
    test_cfg: Any = cfg.get("test_cfg") or {}
    loaders = {name: cfg.get(f"{name}_dataloader") for name in ("train", "val", "test")}
    loaders["memory"] = test_cfg.get("memory_dataloader")
    for name, loader in loaders.items():
        if not loader:
            continue
        loader.num_workers = 0  # processes take longer to start than so few images to load
        for key in ("persistent_workers", "prefetch_factor", "pin_memory"):
            loader.pop(key, None)
        loader.batch_size = min(loader.get("batch_size", 1), _BATCHES[task])
        if task in ("pretraining", "classification") or name == "memory":
            most = _IMAGES if name in ("train", "memory") else _EVALUATED
            numbers = [_keep_some(dataset, most, _scope(cfg)) for dataset in leaves(loader.dataset)]
            if name == "train" and None not in numbers:
                _fit_batch(cfg, sum(filter(None, numbers)) // processes)
        elif name != "train":
            _evaluate_some(cfg, name, work_dir)


def _fit_batch(cfg: Config, images: int) -> None:
    """Let an epoch have two batches at least: with one, the warm-up by iterations would never leave its start."""
    fits = images // 2
    if cfg.model.get("mixup"):  # takes pairs
        fits = fits // 2 * 2
    if fits:
        cfg.train_dataloader.batch_size = min(cfg.train_dataloader.batch_size, fits)


def _scope(cfg: Config) -> str:
    """Return the scope that names in the config are of; the tool enters it later."""
    return cfg.get("default_scope") or "mimtransfer"


def _keep_some(dataset: dict, most: int, scope: str) -> int | None:
    """Let a data set of pretraining or classification keep so many images, where it has more.

    Returns:
        how many it has then; None where nobody knows.
    """
    cut = any(dataset.get(key) for key in ("num_images", "images_per_class", "fraction", "list_file", "in_chans"))
    kind = name_of(dataset)
    of_labels = kind in ("ClassFolder", "TorchvisionCIFAR", "TorchvisionSTL10", "TinyImageNet", "LabelledImageSource")
    if not of_labels and kind not in ("ImageFolder", "ImageSource"):
        return None
    try:
        number = len(DATASETS.build({**dataset, **({"transform": []} if of_labels else {}), "_scope_": scope}))
    except (ValueError, KeyError, OSError):  # said by the run itself, with the name of the file
        return None
    if cut or number <= most or kind == "ImageSource":
        return number
    if of_labels:
        dataset["fraction"] = most / number
    else:
        dataset["num_images"] = most
    return most


def _evaluate_some(cfg: Config, name: str, work_dir: str) -> None:
    """Evaluate few images: of a COCO json, by one that lists them; of index maps, by their numbers."""
    dataset = next(leaves(cfg[f"{name}_dataloader"].dataset))
    path = osp.join(dataset.get("data_root") or "", dataset.get("ann_file") or "")
    if not path.endswith(".json"):
        if (dataset.get("data_prefix") or {}).get("seg_map_path") is None or dataset.get("indices") is not None:
            return
        try:
            number = len(DATASETS.build({**dataset, "lazy_init": False, "_scope_": _scope(cfg)}))
        except (ValueError, KeyError, OSError, AssertionError):
            return
        if number > _EVALUATED:
            dataset["indices"] = spread(range(number), _EVALUATED)[:_EVALUATED]
        return
    try:
        with open(path, encoding="utf-8") as file:
            coco = json.load(file)
        images = coco["images"]
        if len(images) <= _EVALUATED:
            return
        kept = spread(images, _EVALUATED)[:_EVALUATED]
        ids = {entry["id"] for entry in kept}
        content = {**coco, "images": kept, "annotations": [a for a in coco["annotations"] if a["image_id"] in ids]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # said by the check of the data
        return
    folder = osp.abspath(osp.join(work_dir, "quick"))
    os.makedirs(folder, exist_ok=True)
    dataset["ann_file"] = osp.join(folder, f"{name}.json")
    write_atomically(dataset["ann_file"], json.dumps(content) + "\n")
    evaluators = cfg.get(f"{name}_evaluator")
    for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
        if isinstance(evaluator, dict) and "ann_file" in evaluator:
            evaluator["ann_file"] = dataset["ann_file"]


def _set_schedule(cfg: Config, task: str) -> None:
    optimizer: Any = cfg.optim_wrapper.get("optimizer") or {}
    cfg.optim_wrapper.pop("accumulative_counts", None)
    cfg.auto_scale_lr, cfg.auto_scale_iters = dict(enable=False), False
    if name_of(cfg.optim_wrapper) == "Bf16OptimWrapper":
        cfg.optim_wrapper.type = "OptimWrapper"  # CPUs are slower in bfloat16, but for the newest
    if name_of(optimizer) == "AdamW":
        optimizer["lr"] = _LR
        paramwise = cfg.optim_wrapper.get("paramwise_cfg") or {}
        if paramwise.get("layer_decay_rate", 1.0) < _LAYER_DECAY:  # random weights are to learn, too
            paramwise["layer_decay_rate"] = _LAYER_DECAY
    hooks: Any = cfg.setdefault("default_hooks", {})
    for node in dicts_in(hooks):
        if name_of(node) == "LoggerHook" or node is hooks.get("logger"):
            node["interval"] = 10
    by_epoch = task in ("pretraining", "classification")
    if by_epoch:
        loop = cfg.train_cfg
        loop.max_epochs = _EPOCHS
        loop.val_interval = _EPOCHS
        cfg.param_scheduler = warmup_cosine(epochs=_EPOCHS, warmup=1, start_factor=0.01)
    else:
        cfg.train_cfg, cfg.param_scheduler = iteration_cosine(iters=_ITERS, warmup=_ITERS // 10)
        cfg.log_processor = dict(cfg.get("log_processor") or {}, by_epoch=False)
    checkpoint = hooks.get("checkpoint") or {}
    hooks["checkpoint"] = {**checkpoint, "type": checkpoint.get("type", "CheckpointHook"), "by_epoch": by_epoch,
                           "interval": _EPOCHS if by_epoch else _ITERS}
    for hook in cfg.get("custom_hooks") or ():
        if name_of(hook) == "MapBankHook":
            hook.update(begin=1, interval=1, min_images=0)
