"""Write the encoder of a checkpoint as another codebase names it.

Converting back gives the same tensors. Only what a codebase has no place for and what acts on nothing is left out (the
bias of BEiT's keys, the class token of windows), and `pos_embed` gets the rows that it expects.
"""
from __future__ import annotations

import json
import os
import os.path as osp
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.checkpoints.formats import pretraining_of, read_format
from mimtransfer.checkpoints.names import HF_CLIP, HF_DINOV2, HF_VIT, VITDET, State, Table
from mimtransfer.checkpoints.resample import Grid, Positions, split_positions
from mimtransfer.checkpoints.rotary import check_positions
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.files import open_to_readers

_TABLE = "attn.relative_position_bias_table"


class Written(NamedTuple):
    """An encoder in the names of a codebase."""

    names: str  # for the report
    state: State
    left_out: list[str] = []  # timm's names; they act on nothing


def convert(source: str | os.PathLike, target: str | os.PathLike, to: str) -> str:
    """Convert a checkpoint file.

    Args:
        source: any file that `read_checkpoint` reads.
        target: file to write, .safetensors or .pth; it must not exist.
        to: a key of `FORMATS`.

    Returns:
        A line that says what was read, written and left out.

    Raises:
        UserError: unreadable source, no encoder in it, no place for a part of it in the codebase, or the target exists.
    """
    source, target = os.fspath(source), os.fspath(target)
    if not target.endswith((".safetensors", ".pth")):
        raise UserError(f"cannot write {target!r}: expected a name that ends in .safetensors or .pth")
    if osp.exists(target):
        raise UserError(f"{target!r} exists: remove it, or give another name")
    if not osp.isdir(osp.dirname(target) or "."):
        raise UserError(f"cannot write {target!r}: the folder {osp.dirname(target)!r} does not exist")
    checkpoint = read_checkpoint(source)
    fmt, pretraining = read_format(checkpoint), pretraining_of(checkpoint)
    if not fmt.encoder:
        inside = ", ".join(map(repr, fmt.rest[:3])) or "no tensors"
        raise UserError(f"checkpoint {source!r} holds no encoder that is known (it has {inside})")
    check_positions(source, checkpoint, fmt)
    written = FORMATS[to](fmt.encoder, tuple((pretraining or {}).get("grid") or ()) or None)
    # Parts of a fused tensor share its memory, and a pickle would hold the whole of it with each part.
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in written.state.items()}
    _save(state, target, to, pretraining)
    line = f"{source} ({fmt.source}) -> {target} ({written.names}): {len(state)} tensors"
    for what, names in (("no part of the encoder", fmt.rest), ("without effect", written.left_out)):
        if names:
            line += f"; left out, {what}: {', '.join(names[:4])}{f' and {len(names) - 4} more' * (len(names) > 4)}"
    return line


def _save(state: State, target: str, to: str, pretraining: dict[str, Any] | None) -> None:
    part = f"{target}.part"
    if target.endswith(".safetensors"):
        write_safetensors(state, part, pretraining)
    elif to == "huggingface":
        torch.save(state, part)
    else:
        meta = {"meta": {"mimtransfer": pretraining}} if pretraining else {}
        torch.save({"model" if to == "detectron2" else "state_dict": state, **meta}, part)
    os.replace(part, target)


def write_safetensors(state: State, path: str | Path, pretraining: Mapping[str, Any] | None) -> None:
    """Write tensors that share no memory, with where they come from in the metadata."""
    from safetensors.torch import save_file

    save_file(state, path, {"format": "pt"} | ({"mimtransfer": json.dumps(pretraining)} if pretraining else {}))
    open_to_readers(path)


def to_mimtransfer(encoder: State, grid: Grid | None) -> Written:
    """Name the encoder as our pretraining does."""
    return Written("mimtransfer", {f"encoder.{name}": value for name, value in encoder.items()})


def to_timm(encoder: State, grid: Grid | None) -> Written:
    """Name the encoder as timm's VisionTransformer, VisionTransformerSAM (decomposed positions) or Beit (biases)."""
    if any(name.endswith(_TABLE) and name.startswith("blocks.") for name in encoder):
        return _to_timm_beit(encoder)
    if any(name.endswith("attn.rel_pos_h") for name in encoder):
        return _to_timm_sam(encoder, grid)
    return Written("timm", _positions_as_timm(encoder, grid))


def _to_timm_beit(encoder: State) -> Written:
    state: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, value in encoder.items():
        if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.bias", name):
            q, k, v = value.chunk(3)
            state |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
            # The same number is added to all logits of a query.
            left_out += [f"{name} of keys"] if k.any() else []
        else:
            state[re.sub(r"\bls([12])\.gamma$", r"gamma_\1", name)] = value
    return Written("timm's Beit", state, left_out)


def _to_timm_sam(encoder: State, grid: Grid | None) -> Written:
    state, positions = dict(encoder), _split(encoder, grid)
    if positions is not None:
        state["pos_embed"] = positions.patches.unflatten(1, positions.grid)
    # Windows are without prefix tokens.
    left_out = [name for name in ("cls_token", "reg_token") if state.pop(name, None) is not None]
    return Written("timm's VisionTransformerSAM", state, left_out)


def _positions_as_timm(encoder: State, grid: Grid | None) -> State:
    """Where registers have no position of their own, add the class token's to it, as timm stores DINOv2."""
    positions = _split(encoder, grid)
    if "reg_token" not in encoder or positions is None or positions.prefix.shape[1] != 1:
        return encoder
    folded = {"cls_token": encoder["cls_token"] + positions.prefix, "pos_embed": positions.patches}
    return {**encoder, **folded}


def to_detectron2(encoder: State, grid: Grid | None) -> Written:
    """Name the encoder as the backbone of a ViTDet; the final norm and the class token, which it has not, stay in."""
    return _write(VITDET, _with_class_row(encoder, grid), "backbone.")


def to_huggingface(encoder: State, grid: Grid | None) -> Written:
    """Name the encoder as the Hugging Face model with its parts: ViT and ViTMAE, BEiT, DINOv2, or CLIP's."""
    if any(name.startswith("norm_pre.") for name in encoder):
        return _write(HF_CLIP, encoder, "vision_model.")
    if any(name.endswith(_TABLE) for name in encoder):
        written = _write(HF_VIT, encoder, "beit.")
        silent = [name for name in written.state if name.endswith("attention.key.bias")]
        acts = [name for name in silent if written.state[name].any()]
        for name in silent:
            del written.state[name]
        return Written("Hugging Face BEiT", written.state, acts)
    if any(name.endswith("ls1.gamma") for name in encoder):
        return _write(HF_DINOV2, _with_class_row(encoder, grid), "")
    return Written("Hugging Face ViT, ViTMAE", _write(HF_VIT, _with_class_row(encoder, grid), "vit.").state)


def _write(table: Table, encoder: State, prefix: str) -> Written:
    state, unmapped = table.write(encoder, prefix)
    if unmapped:
        raise UserError(
            f"{table.source} has no place for {unmapped[0]} of this encoder ({len(unmapped)} such tensors): convert "
            "--to mimtransfer or timm"
        )
    return Written(table.source, state)


def _with_class_row(encoder: State, grid: Grid | None) -> State:
    """Give `pos_embed` one row before the patches, zero where the file has none, as ViTDet and Hugging Face expect."""
    positions = _split(encoder, grid)
    if positions is None or positions.prefix.shape[1]:
        return encoder
    return {**encoder, "pos_embed": F.pad(positions.patches, (0, 0, 1, 0))}


def _split(encoder: State, grid: Grid | None) -> Positions | None:
    value: Tensor | None = encoder.get("pos_embed")
    return None if value is None else split_positions(value, encoder, (1, 1), grid)


FORMATS: dict[str, Callable[[State, Grid | None], Written]] = {
    "mimtransfer": to_mimtransfer, "timm": to_timm, "detectron2": to_detectron2, "huggingface": to_huggingface,
}
