"""Training steps of detectors and segmentors from their configs, on made-up batches; and the backbone of ViTDet."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mimtransfer.benchmarks.timing import Contender, count_flops
from mimtransfer.cli.launch import load_config
from mimtransfer.training.precision import set_amp, set_precision

_OBJECTS = 8  # in a picture; COCO has 7


def build_transfer(path: str, batch_size: int, side: int, device: str, amp: bool, options: list[str]) -> Contender:
    """Return a training step of a config: preprocessor, forward, backward, optimizer.

    Args:
        path: config of detection or segmentation.
        batch_size: pictures of a step.
        side: of the square pictures.
        device: where it runs.
        amp: bf16 autocast; a config may have it anyway.
        options: KEY=VALUE, as for the tools.
    """
    cfg = load_config(path, options)
    set_amp(cfg, amp)
    set_precision(cfg)
    torch.backends.cudnn.benchmark = cfg.env_cfg.get("cudnn_benchmark", False)  # as the Runner will
    cfg.optim_wrapper.pop("accumulative_counts", None)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model: Any = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    inputs, samples = made_up_batch(cfg, batch_size, side)

    def batch(number: int) -> dict[str, Any]:  # preprocessors change what they get
        return dict(inputs=list(inputs[:number]), data_samples=[sample.clone() for sample in samples[:number]])

    def once() -> None:
        data = model.data_preprocessor(batch(counted), True)
        with optim_wrapper.optim_context(model):
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        loss.backward()

    # Not of one picture: batch norm behind a pooling to one place has no variance then.
    counted = batch_size if batch_size % 2 else 2
    flops = count_flops(once, batch_size // counted)
    optim_wrapper.zero_grad()
    return Contender(lambda: model.train_step(batch(batch_size), optim_wrapper), batch_size, flops)


def made_up_batch(cfg: Config, batch_size: int, side: int) -> tuple[list[torch.Tensor], list[Any]]:
    """Return pictures [3, H, W] uint8 and what is known of them: boxes with masks, or an index map."""
    state = np.random.RandomState(0)
    pixels = [torch.from_numpy(state.randint(0, 256, (3, side, side), dtype=np.uint8)) for _ in range(batch_size)]
    make = _scene if cfg.task == "detection" else _index_map
    return pixels, [make(state, side, _num_classes(cfg.model)) for _ in range(batch_size)]


def _scene(state: np.random.RandomState, side: int, num_classes: int) -> Any:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    corner, size = state.randint(0, side // 2, (_OBJECTS, 2)), state.randint(side // 8, side // 2, (_OBJECTS, 2))
    boxes = np.concatenate([corner, corner + size], 1)  # x0 y0 x1 y1
    masks = np.zeros((_OBJECTS, side, side), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[y0:y1, x0:x1] = 1
    instances = InstanceData(
        bboxes=torch.from_numpy(boxes.astype(np.float32)), masks=BitmapMasks(masks, side, side),
        labels=torch.from_numpy(state.randint(0, num_classes, _OBJECTS)),
    )  # fmt: skip
    meta = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1.0, 1.0))
    return DetDataSample(gt_instances=instances, metainfo=meta)


def _index_map(state: np.random.RandomState, side: int, num_classes: int) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    labels = state.randint(0, num_classes, (1, 8, 8)).repeat(side // 8, 1).repeat(side // 8, 2)
    meta = dict(img_shape=(side, side), ori_shape=(side, side))
    return SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(labels)), metainfo=meta)


def _num_classes(node: Any) -> int:
    """Return the smallest `num_classes` of the heads in a config."""
    found = []
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list, tuple)):
            found.append(_num_classes(value))
    if isinstance(node, dict) and isinstance(node.get("num_classes"), int) and "type" in node:
        found.append(node["num_classes"])
    return min(found, default=1 << 30)


def vitdet_backbone(**options: Any) -> nn.Module:
    """Return ViT-B of configs/_base_/model/mask-rcnn_vitdet.py, without drop path.

    Args:
        options: of `TimmViT`, in the place of those.
    """
    from mimtransfer.backbones import TimmViT

    vitdet: dict[str, Any] = dict(
        img_size=224, pos_antialias=False, final_norm=False, window_size=14, global_blocks=(2, 5, 8, 11),
        rel_pos="decomposed", rel_pos_size=1024,
    )  # fmt: skip
    return TimmViT(**{**vitdet, **options})


def backbone_step(
    model: nn.Module, images: torch.Tensor, amp: bool, last: Callable[[Any], torch.Tensor]
) -> Callable[[], None]:
    """Return forward and backward of a backbone; `last` takes its last map from what it returns."""

    def step() -> None:
        model.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
            maps = model(images)
        last(maps).float().square().mean().backward()

    return step
