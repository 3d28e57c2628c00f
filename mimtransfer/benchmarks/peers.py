"""Other people's code in the same run, from a checkout of theirs: nothing of it is installed or copied."""
from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from mimtransfer.errors import UserError


def detectron2_vit(checkout: str, **options: Any) -> nn.Module:
    """Return detectron2's ViT with the arguments of its projects/ViTDet (ViT-B), without drop path.

    detectron2 need not be installed: only its files `modeling/backbone/{vit,utils}.py` run, which need little of the
    rest.

    Args:
        options: of its ViT, in the place of those of ViT-B.
    """
    folder = os.path.join(checkout, "detectron2", "modeling", "backbone")
    if not os.path.isfile(os.path.join(folder, "vit.py")):
        raise UserError(f"--detectron2 {checkout}: no detectron2/modeling/backbone/vit.py there, expected a checkout")
    # What vit.py imports; its ViT without residual blocks uses nn.Module of these alone.
    stand_ins: dict[str, dict[str, Any]] = {
        "fvcore": {}, "fvcore.nn": {}, "fvcore.nn.weight_init": {}, "detectron2": {},
        "detectron2.layers": dict(CNNBlockBase=nn.Module, Conv2d=nn.Conv2d, get_norm=None),
        "detectron2.modeling": {}, "detectron2.modeling.backbone": dict(__path__=[folder]),
        "detectron2.modeling.backbone.fpn": dict(_assert_strides_are_log2_contiguous=None),
        "detectron2.modeling.backbone.backbone": dict(Backbone=nn.Module),
    }
    for name, content in stand_ins.items():
        module = sys.modules[name] = types.ModuleType(name)
        vars(module).update(dict(__path__=[]) | content)
    vars(sys.modules["fvcore.nn"])["weight_init"] = sys.modules["fvcore.nn.weight_init"]
    from detectron2.modeling.backbone.vit import ViT

    vitdet = dict(window_size=14, window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10], use_rel_pos=True,
                  norm_layer=partial(nn.LayerNorm, eps=1e-6))
    return ViT(**{**vitdet, **options})


def official_mae(checkout: str, **arch: Any) -> nn.Module:
    """Return the model of facebookresearch/mae, which predicts normalised pixels, on the timm that is installed.

    Args:
        arch: of its `MaskedAutoencoderViT`, e.g. embed_dim, depth, num_heads; as it is, a ViT-L.
    """
    if not os.path.isfile(os.path.join(checkout, "models_mae.py")):
        raise UserError(f"--official-mae {checkout}: no models_mae.py there, expected a checkout of "
                        "facebookresearch/mae")
    import timm.models.vision_transformer as timm_vit

    class Block(timm_vit.Block):
        """timm's, with an argument that it no longer has."""

        def __init__(self, *args: Any, qk_scale: None = None, **options: Any) -> None:
            super().__init__(*args, **options)

    with _first_on_path(checkout), patch.object(timm_vit, "Block", Block), \
            patch.object(np, "float", float, create=True):  # gone since NumPy 1.24
        module = importlib.import_module("models_mae")
        norm = partial(nn.LayerNorm, eps=1e-6)
        return module.MaskedAutoencoderViT(**{"norm_pix_loss": True, "norm_layer": norm, **arch})


def mae_step(model: nn.Module, images: torch.Tensor, amp: bool, lr: float = 1.5e-4) -> Callable[[], None]:
    """Return a training step of the official model: three quarters masked, AdamW as fast as torch has it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr, betas=(0.9, 0.95), weight_decay=0.05, fused=True)

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
            loss, *_ = model(images, mask_ratio=0.75)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """Import from a folder; its modules `util.*` and `models_mae` are forgotten afterwards."""
    known = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - known:
            if name.split(".")[0] in ("util", "models_mae"):
                del sys.modules[name]
