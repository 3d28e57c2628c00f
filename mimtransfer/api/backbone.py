"""load_backbone: a checkpoint as a torch module."""
from __future__ import annotations

import os
from typing import Any

from mimtransfer.backbones.pretrained import PretrainedBackbone
from mimtransfer.checkpoints.load import load_backbone as load_into
from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.recorded_config import POSITIONS, build_recorded, config_in_checkpoint, encoder_config
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS


def load_backbone(checkpoint: str | os.PathLike, arch: str | None = None, img_size: int | tuple[int, int] | None = None,
                  **model_kwargs: Any) -> PretrainedBackbone:
    """Build a backbone and load a checkpoint into it, wholly or not at all.

    Args:
        checkpoint: a file of ours or of any codebase in docs/checkpoints.md, or a work dir: its newest checkpoint.
        arch: name of a model in timm; by default what a checkpoint of ours says of itself.
        img_size: pixels of a side, or height and width; positions are resampled to it. By default the checkpoint's,
            or 224.
        model_kwargs: further arguments of the backbone, e.g. `out_indices=(2, 5, 8, 11)`, and `type`: `TimmViT` (the
            default for `arch`), `TimmSwin`, `TimmCNN`.

    Returns:
        The backbone in evaluation mode on the CPU: images [B, C, H, W], normalised, -> tuple of maps [B, D, h, w].
        `backbone.load_report` says what matched; `print` it.

    Raises:
        UserError: no checkpoint, one that does not say its architecture (give `arch`), or one that does not fill the
            whole backbone.
    """
    path = os.fspath(checkpoint)
    if os.path.isdir(path):
        newest = newest_checkpoint(path)
        if newest is None:
            raise UserError(f"{path}: this folder holds no whole checkpoint; give a file, or a work dir that has one")
        path = str(newest)
    given = dict(model_kwargs) if img_size is None else {**model_kwargs, "img_size": img_size}
    if arch is None:
        where = f"checkpoint {path!r}"
        recorded = _recorded(path, where)  # says what is wrong with the file, or that there is none
        num_bytes = os.path.getsize(path) + (POSITIONS if given else 0)
        backbone = build_recorded(MODELS, recorded | given, where, num_bytes)
    else:
        backbone = MODELS.build({"type": _kind(arch), "arch": arch, **given, "_scope_": MODELS.scope})
    if not isinstance(backbone, PretrainedBackbone):
        raise UserError(f"type {type(backbone).__name__} is no backbone; expected TimmViT, TimmSwin or TimmCNN")
    backbone.load_report = load_into(backbone, path, same_features=True)
    return backbone.eval()


def _recorded(path: str, where: str) -> dict[str, Any]:
    meta = read_checkpoint(path).get("meta")
    if not isinstance(meta, dict) or "cfg" not in meta:
        raise UserError(f"{where} does not say its architecture: give it, e.g. arch='vit_base_patch16_224'")
    return encoder_config(config_in_checkpoint(path), where)


def _kind(arch: str) -> str:
    return "TimmSwin" if arch.startswith("swin") else "TimmViT"
