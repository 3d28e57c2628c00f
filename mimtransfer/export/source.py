"""The backbone of a checkpoint as it is exported: built from the config in the file, loaded wholly, with what the file
says of its images and of its training.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.load import LoadReport, load_backbone
from mimtransfer.checkpoints.recorded_config import (
    POSITIONS,
    build_recorded,
    config_in_checkpoint,
    encoder_config,
    pixel_statistics,
)
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS

# Of training alone: what is exported has none of them.
_TRAINING = ("init_cfg", "drop_path_rate", "frozen_stages", "grad_checkpointing", "flex_attention")


class Source(NamedTuple):
    """A checkpoint that was read."""

    path: str
    cfg: Mapping[str, Any]  # of the run that wrote it; empty with `arch`
    config: dict[str, Any]  # of the backbone, without options of training
    backbone: Any  # in evaluation mode
    report: LoadReport
    pixels: tuple[list[float], list[float]] | None  # mean and std in 0 ... 255; None: not of three channels


def read_source(path: str, config: str | None = None, arch: str | None = None,
                img_size: int | tuple[int, int] | None = None) -> Source:
    """Build the backbone of a checkpoint and load it.

    Args:
        path: any file that `load_backbone` reads.
        config: file to build the backbone from; None: the config in the checkpoint.
        arch: timm's name of a ViT, for files of other codebases, which say no config.
        img_size: side or (H, W) that positions are resampled for; None: the config's, 224 with `arch`.

    Raises:
        UserError: no config, or one that does not fit the file.
    """
    where = config or f"checkpoint {path!r}"
    if arch:
        cfg: Mapping[str, Any] = {}
        own = {"type": "TimmViT", "arch": arch, "img_size": 224}
    else:
        cfg = launch.load_config(config, []) if config else _config_in(path)
        own = encoder_config(cfg, where)
    own = {key: value for key, value in own.items() if key not in _TRAINING}
    if img_size is not None:
        own["img_size"] = img_size
    if config:
        launch.enter_scope(cfg)
        backbone = MODELS.build(own)
    else:
        init_default_scope("mimtransfer")
        backbone = build_recorded(MODELS, own, where, None if arch else os.path.getsize(path) + POSITIONS)
    report = load_backbone(backbone, path, same_features=True)
    pixels = pixel_statistics(cfg, where) if getattr(backbone, "in_chans", 3) == 3 else None
    return Source(path, cfg, own, backbone.eval(), report, pixels)


def _config_in(path: str) -> Mapping[str, Any]:
    try:
        return config_in_checkpoint(path)
    except UserError as error:
        raise UserError(f"{error}, or name its architecture in timm (--arch vit_base_patch16_224)") from error


def require_vit(source: Source, target: str, instead: str) -> TimmViT:
    """Return the backbone, a plain ViT over all tokens.

    Args:
        target: whose model it is to become, for the message.
        instead: what to do where it cannot, for the message.

    Raises:
        UserError: it is another kind, or attends in windows or by decomposed relative positions, or has norms behind
            its sums.
    """
    vit = source.backbone
    said = None
    if not isinstance(vit, TimmViT):
        said = f"a {type(vit).__name__}, which this tool does not write for {target}"
    elif vit.drops_prefix:
        said = f"a ViT with ViTDet's windows or decomposed relative positions, which {target} has no model for"
    elif source.config.get("post_norm"):
        said = f"a ViT with norms behind its sums (data2vec 2.0), which {target} has no model for"
    if said:
        raise UserError(f"checkpoint {source.path!r} holds {said}: {instead}")
    return vit


@torch.no_grad()
def all_tokens(vit: TimmViT, images: Tensor) -> Tensor:
    """Return all tokens after the final norm, prefix tokens first: [B, C, H, W] -> [B, P+L, D]."""
    grid = vit.patch_grid(images)
    return vit.encode(vit.add_position(vit.embed(images), grid), grid)


def sample_images(backbone: nn.Module, batch: int = 2) -> Tensor:
    """Return normal noise of the size that a backbone is made for, the same in each call: [B, C, H, W]."""
    model: Any = backbone
    height, width = (-(-side // patch) * patch for side, patch in zip(model.img_size, model.patch_size))
    return torch.randn(batch, getattr(model, "in_chans", 3), height, width, generator=torch.Generator().manual_seed(0))


def check_equal(ours: Tensor, theirs: Tensor, target: str, tolerance: float = 1e-5, what: str = "features") -> float:
    """Return the largest difference of features, as a share of the largest value of ours.

    Raises:
        UserError: it is above the tolerance, or the shapes differ.
    """
    if ours.shape != theirs.shape:
        raise UserError(f"{target} computes {what} of {list(theirs.shape)} and not {list(ours.shape)} as the "
                        "checkpoint's model: it has no counterpart there; nothing was written")
    difference = ((ours - theirs).abs().max() / ours.abs().max()).item()
    if not difference <= tolerance:
        raise UserError(f"{target} computes other {what} than the checkpoint's model (largest difference "
                        f"{difference:.1e} of the largest value, expected at most {tolerance:.0e}): it has no "
                        "counterpart there; nothing was written")
    return difference
