"""A step of detectors and segmentors on a fake CUDA device: whose code makes the host wait, and where."""
from __future__ import annotations

from collections import Counter
from typing import Any
from unittest import mock

import torch
from fake_cuda import fake_cuda
from fake_steps import keep_norms, move
from mmengine.optim import build_optim_wrapper
from transfer_batches import detection_batch, segmentation_batch, shrink
from transfer_configs import build, load, num_classes

from mimtransfer.training.precision import set_amp

# Ours that the host cannot do without: NMS keeps as many boxes as it keeps; deformable attention reads the sizes of its
# maps, once in a forward pass.
ALLOWED = ("mimtransfer/openmmlab/mmcv_ext/nms.py", "mimtransfer/openmmlab/mmcv_ext/deform_attn.py")


def transfer_step(leaf: str, amp: bool = True) -> Counter[tuple[str, str]]:
    """Do one training step of a config at the size of a thumbnail, from its preprocessor to its optimizer; numbers that
    the code reads are made up.

    Returns:
        (what, file:line) -> how often the host waited.
    """
    cfg = load(leaf)
    size, number = shrink(cfg)
    model: Any = build(cfg, "cpu").train()
    with_mask = "mask_head" in cfg.model.get("roi_head", {}) or "panoptic_head" in cfg.model
    make = segmentation_batch if cfg.task == "segmentation" else detection_batch
    masked = (with_mask,) if cfg.task == "detection" else ()
    samples = [make(*size, num_classes(cfg)[0], *masked) for _ in range(number)]
    data = dict(inputs=[torch.zeros(3, *size, dtype=torch.uint8) for _ in samples], data_samples=samples)
    set_amp(cfg, amp)
    with fake_cuda(strict=False) as watch, mock.patch("mmcv.ops.multi_scale_deform_attn.IS_CUDA_AVAILABLE", True):
        move(model, watch)
        with watch.rest():
            optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
            keep_norms(optimizer)
        logged = model.train_step(data, optimizer)
        assert all(value.device.type == "cuda" for value in logged.values())
    return watch.waits


def ours(waits: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what our own code waits for, apart from what is allowed."""
    return sorted(key for key in waits if key[1].startswith(("mimtransfer/", "pretrain/"))
                  and not key[1].startswith(ALLOWED))
