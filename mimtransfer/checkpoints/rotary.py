"""Checkpoints of ViTs with rotary positions (RoPE), by the names of their tensors.

RoPE (Su et al., 2021, arXiv 2104.09864) turns queries and keys by an angle that follows from the place of a patch. No
weight tells so: the blocks have the tensors of a plain ViT, which loads them without a gap and computes something else.
"""
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mimtransfer.checkpoints.formats import Format, pretraining_of, weights
from mimtransfer.errors import UserError

# Tables of angles or frequencies, where a file keeps them: official EVA-02, RoPE-ViT and DINOv3, timm's RoPE-ViT.
_ANGLES = re.compile(r"(^|\.)(rope\w*|rotary\w*)\.|(^|\.)(freqs(_cos|_sin)?|inv_freq)$")


def check_positions(path: str, checkpoint: Mapping[str, Any], fmt: Format, may_lack: bool = False) -> None:
    """Refuse a ViT whose positions are rotary, or that has none at all.

    Args:
        path: for the message.
        checkpoint: what was read.
        fmt: what was made of it.
        may_lack: the backbone has fixed positions, which a file need not hold.

    Raises:
        UserError: such a ViT; one of ours may be without positions.
    """
    ours = pretraining_of(checkpoint) is not None
    family = rotary_family(weights(checkpoint), fmt, ours)
    if family is not None:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) is of {family}, whose positions are rotary (RoPE): a ViT without them "
            "would compute something else; take a checkpoint with a position embedding or relative positions, e.g. of "
            "MAE, DINOv2 or BEiT"
        )
    if not ours and not may_lack and _is_vit(fmt) and not _has_positions(fmt):
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) has no position embedding and no relative positions, so its positions "
            "are unknown here and would be left out; take another checkpoint"
        )


def _is_vit(fmt: Format) -> bool:
    return any(re.match(r"blocks\.\d+\.attn\.", name) for name in fmt.encoder)


def _has_positions(fmt: Format) -> bool:
    return any(re.search("(^|[.])pos_embed$|rel_pos|relative_position", name) for name in fmt.encoder)


def rotary_family(names: Iterable[str], fmt: Format, trusted: bool = False) -> str | None:
    """Name the family of a ViT with rotary positions, None for all others.

    RoPE-ViT with absolute positions beside (`rope_ape`) has the names of DeiT-3 and cannot be told from it, unless its
    angles are learned (`mixed`).

    Args:
        names: of all tensors in the file.
        fmt: what was made of the file.
        trusted: the file is one of ours, which have no rotary positions: only angles speak against that.
    """
    names, encoder = set(names), fmt.encoder
    has_registers = any(name.rpartition(".")[2] in ("storage_tokens", "register_tokens") for name in names)
    has_registers = has_registers or "reg_token" in encoder
    if any(map(_ANGLES.search, names)):
        if any("freqs_cos" in name for name in names):
            return "EVA-02"
        return "DINOv3" if has_registers else "RoPE-ViT"
    if any(name.endswith(("attn_pool.probe", "attn_pool.latent")) for name in names) and "norm_pre.weight" in encoder:
        return "Perception Encoder"
    if trusted or not _is_vit(fmt):
        # Of Hugging Face's DINOv3 no encoder is made.
        projection = re.compile(r"(^|\.)layer\.\d+\.attention\.q_proj\.weight$")
        return "DINOv3" if not trusted and has_registers and any(map(projection.search, names)) else None
    if _has_positions(fmt):
        no_norm = not {"norm.weight", "fc_norm.weight"} & names
        return "Perception Encoder" if fmt.source == "timm" and "norm_pre.weight" in encoder and no_norm else None
    if has_registers:
        return "RoPE-ViT" if "fc_norm.weight" in names else "DINOv3"
    return "RoPE-ViT" if any(name.endswith("ls1.gamma") for name in encoder) else None
