"""Batches of made-up images for the configs of tools/train.py, all but those of detection, which is beside."""
from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mimtransfer.datasets.configured import dicts_in
from mimtransfer.errors import UserError
from mimtransfer.planning.fake import Fake
from mimtransfer.planning.step import Task


def transfer_task(cfg: Config) -> Task:
    """Return the task of a config of tools/train.py.

    Raises:
        UserError: the size of its images cannot be told.
    """
    if cfg.get("task") == "classification":
        return _classification(cfg)
    if cfg.get("default_scope") == "mmseg":
        return _segmentation(cfg)
    from mimtransfer.planning.detection import detection_task

    return detection_task(cfg, training_size(cfg), num_classes(cfg))


def training_size(cfg: Config) -> tuple[int, int]:
    """Return height and width of a training image as the model gets it: cropped, padded; the largest of several scales.

    Raises:
        UserError: no transform says it.
    """
    preprocessor, transposed = cfg.model.get("data_preprocessor") or {}, cfg.get("default_scope") == "mmdet"
    padded = [augment for augment in preprocessor.get("batch_augments") or () if augment.get("size")]
    size = next((augment["size"] for augment in padded), None) or preprocessor.get("size")
    if size is None:
        size = _size_of_pipeline(_steps(cfg), transposed)
    if size is None:
        raise UserError("config: neither data_preprocessor nor the training pipeline says the size of an image (by a "
                        "crop, a resize), which a plan needs")
    divisor = preprocessor.get("pad_size_divisor") or preprocessor.get("size_divisor") or 1
    height, width = (size, size) if isinstance(size, int) else size
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def _steps(cfg: Config) -> list[dict]:
    """Return all transforms of the training images, in their order, those inside of others, too."""
    return [node for node in dicts_in(cfg.train_dataloader.dataset) if "type" in node]


def _size_of_pipeline(steps: list[dict], transposed: bool) -> Any:
    """Return (height, width): the last crop or pad, or else the largest scale; mmdet writes width first."""
    crops = [step.get("crop_size") or step.get("input_size") or step.get("size") for step in steps
             if "Crop" in step["type"] or step["type"] in ("Pad", "TimmAugment", "SimMIMTransform")]
    crops = [crop for crop in crops if crop]
    fixed = [crop for step, crop in zip(steps, crops) if crop]
    if fixed and not any(step["type"] == "RandomChoiceResize" for step in steps):
        crop = fixed[-1]
        return crop if isinstance(crop, int) or not transposed else (crop[1], crop[0])
    resizes = [step for step in steps if "Resize" in step["type"] and (step.get("scales") or step.get("scale"))]
    if resizes:
        last = resizes[-1]
        scales: list[Any] = [scale if isinstance(scale, tuple | list) else (scale, scale)
                             for scale in last.get("scales") or [last["scale"]]]
        width, height = max(scales, key=lambda scale: scale[0] * scale[1])
        # Of a kept ratio the two are limits of the longer and the shorter side, in any order: a wide image.
        return (height, width) if last.get("keep_ratio") is False else (min(height, width), max(height, width))
    sizes = [step["size"] for step in steps if "size" in step]
    return sizes[-1] if sizes else None


def num_classes(cfg: Config) -> int:
    """Return the number of classes of the first head that says it."""
    keys = ("num_classes", "num_things_classes")
    found = [node[key] for node in dicts_in(cfg.model) for key in keys if node.get(key)]
    return found[0] if found else 1


def _classification(cfg: Config) -> Task:
    size: Any = _size_of_pipeline(_steps(cfg), transposed=False)
    if size is None:
        size = cfg.model.backbone.get("img_size") or 224
    height, width = (size, size) if isinstance(size, int) else size

    def data(fake: Fake, model: nn.Module, images: int) -> dict[str, Any]:
        inputs = fake.empty(images, 3, height, width, dtype=torch.uint8)
        return dict(inputs=inputs, label=torch.zeros(images, dtype=torch.int64))

    return Task(lambda: MODELS.build(cfg.model), data, (height, width))


def _segmentation(cfg: Config) -> Task:
    size, classes = training_size(cfg), num_classes(cfg)

    def data(fake: Fake, model: nn.Module, images: int) -> dict[str, Any]:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        labels = (torch.arange(size[0] * size[1]) % classes).reshape(1, *size)
        meta = dict(img_shape=size, ori_shape=size)
        name, truth = ("gt_depth_map", labels + 1.0) if cfg.get("task") == "depth" else ("gt_sem_seg", labels)
        samples = [SegDataSample(**{name: PixelData(data=truth.clone())}, metainfo=meta) for _ in range(images)]
        return dict(inputs=[fake.empty(3, *size, dtype=torch.uint8) for _ in range(images)], data_samples=samples)

    return Task(lambda: MODELS.build(cfg.model), data, size)
