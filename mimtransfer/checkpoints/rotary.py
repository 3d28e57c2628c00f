"""Checkpoints of ViTs with rotary positions (RoPE), by the names of their tensors.

RoPE (Su et al., 2021, arXiv 2104.09864) turns queries and keys by an angle that follows from the place of a patch. No
weight tells so: a plain ViT may have the same tensors, load them without a gap and compute something else, and so may
another family of rotary ViTs. So the family of the file must be that of the backbone.
"""
from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
from torch import Tensor, nn

from mimtransfer.checkpoints.eva import is_swiglu
from mimtransfer.checkpoints.formats import Format, pretraining_of, read_format, weights
from mimtransfer.errors import UserError

# Tables of angles or frequencies, where a file keeps them: official EVA-02, RoPE-ViT and DINOv3, timm's RoPE-ViT.
_ANGLES = re.compile(r"(^|\.)(rope\w*|rotary\w*)\.|(^|\.)(freqs(_cos|_sin)?|inv_freq)$")
# timm's names of each family; those of DINOv3's build have its tensors.
_ARCHS = {
    "DINOv3": ("*dinov3*", "*lingbot*", "*sapiens2*"), "EVA-02": ("eva02*",), "RoPE-ViT": ("*_rope_*",),
    "Perception Encoder": ("vit_pe_*",),
}


def check_positions(
    path: str, checkpoint: Mapping[str, Any], fmt: Format, backbone: nn.Module | None = None, may_lack: bool = False
) -> str | None:
    """Refuse a ViT with positions that the backbone has not: rotary ones of another family, or none at all.

    Args:
        path: for the message.
        checkpoint: what was read.
        fmt: what was made of it.
        backbone: what the file is for; None stands for one without rotary positions.
        may_lack: the backbone has fixed positions, which a file need not hold.

    Returns:
        The family of a ViT with rotary positions, None for all others.

    Raises:
        UserError: such a ViT; one of ours may be without positions.
    """
    pretraining = pretraining_of(checkpoint)
    ours = pretraining is not None
    family = rotary_family(weights(checkpoint), fmt, ours)
    arch = getattr(backbone, "arch", "") if getattr(backbone, "rope", None) is not None else ""
    own = family_of_arch(arch)
    recorded = (pretraining or {}).get("arch")
    if says_arch := isinstance(recorded, str):
        family = family_of_arch(recorded)  # which no names need to tell
    if family is not None and own is None:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) is of {family}, whose positions are rotary (RoPE): a ViT without them "
            f"would compute something else; {suggestion(fmt, family)}, or take a checkpoint with a position embedding "
            "or relative positions, e.g. of MAE, DINOv2 or BEiT"
        )
    unsaid = family is None and not says_arch and (ours or (own == "RoPE-ViT" and _may_be_rotary(backbone, fmt)))
    if own is not None and family != own and not unsaid:
        there = f"of {family}" if family else "of a ViT without rotary positions"
        plain = "build the backbone with a plain arch, e.g. 'vit_base_patch16_224'"
        hint = suggestion(fmt, family) if family else plain
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) is {there}, and the backbone's arch={arch!r} has the rotary positions "
            f"of {own}: it would compute something else; {hint}"
        )
    if not ours and not may_lack and own is None and _is_vit(fmt) and not _has_positions(fmt):
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) has no position embedding and no relative positions, so its positions "
            "are unknown here and would be left out; take another checkpoint"
        )
    return family


def family_of_arch(arch: str) -> str | None:
    """Name the family of one of timm's architectures with rotary positions, None for all others."""
    return next((family for family in _ARCHS if arch and arch in _archs(family)), None)


@contextmanager
def naming_arch(fmt: Format, family: str | None) -> Iterator[None]:
    """Let an error also say which arch a file of a rotary family needs."""
    try:
        yield
    except UserError as error:
        if family is None:
            raise
        raise UserError(f"{error}; it is of {family}: {suggestion(fmt, family)}") from error


def suggestion(fmt: Format, family: str) -> str:
    """Say which arch a file of a family needs, found by the shapes of its tensors."""
    found = matching_archs(fmt.encoder, _archs(family))
    if not found:
        return f"build the backbone with the arch of {family} that the file has ({', '.join(_ARCHS[family])} in timm)"
    return f"build the backbone with arch={' or '.join(map(repr, found[:3]))}"


def _archs(family: str) -> list[str]:
    return timm.list_models(list(_ARCHS[family]), module="eva")


def _may_be_rotary(backbone: Any, fmt: Format) -> bool:
    """Say whether backbone and file may be of RoPE-ViT with absolute positions beside fixed angles, of which its names
    say nothing.
    """
    return backbone.pos_embed is not None and any(name.endswith("ls1.gamma") for name in fmt.encoder)


def matching_archs(encoder: Mapping[str, Tensor], archs: Iterable[str]) -> list[str]:
    """Return which of timm's architectures have the blocks and tokens of a file, if there are some those of its biases,
    patch and image size.
    """
    own, depth, fits = _shapes(encoder), _depth(encoder), []
    bias = encoder.get("blocks.0.attn.qkv.bias")
    has_bias = bias is not None and bool(bias.any())
    for arch in archs:
        if _shapes_of_arch(arch) == own:
            whole = _on_meta(arch)
            differs = [name in whole and name in encoder and whole[name].shape != encoder[name].shape
                       for name in ("patch_embed.proj.weight", "pos_embed")]
            # DINOv3's files have biases that may be zero, and timm an arch with and one without them.
            differs.insert(0, ("blocks.0.attn.qkv.bias" in whole) != has_bias)
            fits += [(differs, arch)] if _depth(whole) == depth else []
    return [arch for differs, arch in sorted(fits) if differs == min(fits)[0]]


@functools.cache
def _shapes_of_arch(arch: str) -> dict[str, tuple[int, ...]]:
    try:
        return _shapes(_on_meta(arch, depth=1))
    except AssertionError:  # Sapiens2: its arguments say something of each block
        return {}


def _on_meta(arch: str, **kwargs: Any) -> dict[str, Tensor]:
    model = timm.create_model(arch, num_classes=0, global_pool="", device="meta", **kwargs)
    return read_format(model.state_dict()).encoder


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes that tell architectures apart: of the first block, and of what lies outside of blocks."""
    found = {}
    for name, value in state.items():
        if name == "blocks.0.attn.qkv.bias":
            continue
        if name.startswith(("blocks.0.", "cls_token", "reg_token", "norm_pre.")):
            found[name] = tuple(value.shape)
        elif name in ("pos_embed", "rope.freqs"):  # of another grid, and of each block
            found[name] = tuple(value.shape[-1:])
    return found


def _depth(state: Mapping[str, Tensor]) -> int:
    return len({found[1] for name in state if (found := re.match(r"blocks\.(\d+)\.", name))})


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
        trusted: the file is one of ours: only angles and a gate speak for rotary positions.
    """
    names, encoder = set(names), fmt.encoder
    has_registers = any(name.rpartition(".")[2] in ("storage_tokens", "register_tokens") for name in names)
    has_registers = has_registers or "reg_token" in encoder
    has_scale = any(name.endswith("ls1.gamma") for name in encoder)
    if any(map(_ANGLES.search, names)):
        if any("freqs_cos" in name for name in names):
            return "EVA-02"
        return "DINOv3" if has_registers else "RoPE-ViT"
    if any(name.endswith(("attn_pool.probe", "attn_pool.latent")) for name in names) and "norm_pre.weight" in encoder:
        return "Perception Encoder"
    if is_swiglu(encoder) and "pos_embed" in encoder and not has_scale and not has_registers:
        return "EVA-02"
    if trusted or not _is_vit(fmt):
        return None
    if _has_positions(fmt):
        no_norm = not {"norm.weight", "fc_norm.weight"} & names
        return "Perception Encoder" if fmt.source == "timm" and "norm_pre.weight" in encoder and no_norm else None
    if has_registers:
        return "RoPE-ViT" if "fc_norm.weight" in names else "DINOv3"
    return "RoPE-ViT" if has_scale else None
