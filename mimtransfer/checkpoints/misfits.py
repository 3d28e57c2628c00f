"""Why a checkpoint does not fit a backbone, in one line, and short names of many tensors for it."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mimtransfer.checkpoints.formats import Format
from mimtransfer.errors import UserError


def check_unused(
    path: str, fmt: Format, wanted: Mapping[str, Tensor], unused: list[str], declared_depth: int | None,
    same_features: bool = False,
) -> None:  # fmt: skip
    """Refuse a file whose encoder has more than the backbone: that loads without a gap and computes something else.

    Args:
        same_features: refuse relative positions, too, which a training may begin without.
    """
    # Our backbones build nothing behind the last block or stage whose output they return: no other architecture.
    if declared_depth is not None and declared_depth == _depth(fmt.encoder):
        own_depth = _depth(wanted)
        unused = [name for name in unused if _block(name) < own_depth]
    shapes = {starred(name) for name in wanted}
    deeper = [name for name in unused if starred(name) in shapes]
    if deeper:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) is deeper than the backbone: it has {deeper[0]} "
            f"({_structure(fmt.encoder)}, the backbone {_structure(wanted)}); build the backbone with the "
            "architecture of the checkpoint"
        )
    vital = [name for name in unused if name in ("pos_embed", "reg_token", "norm_pre.weight", "rope.freqs")]
    if vital:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) has {vital[0]} and the backbone none, so it computes something "
            "else: build the backbone with the options of the checkpoint (arch, pos_embed ...)"
        )
    containers = {found.group(1) for name in wanted if (found := re.match(r"(\w+)\.\d+\.", name))}
    inside = [name for name in unused if name.partition(".")[0] in containers and fmt.encoder[name].is_floating_point()]
    relative = [name for name in inside if re.search("rel_pos|relative_position", name)]
    if relative and same_features:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) attends by relative positions ({relative[0]}), which the backbone has "
            "not, so its features would be others: build the backbone with the options of the checkpoint (rel_pos)"
        )
    if inside := [name for name in inside if name not in relative]:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) has tensors inside its blocks that the backbone lacks: "
            f"{grouped(inside)}; build the backbone with the options of the checkpoint (layer scale, q/k norm ...)"
        )


def check_numbers(path: str, fitted: Mapping[str, Tensor]) -> None:
    """Refuse a file with complex numbers, NaN or infinity in what the backbone takes."""
    if unreal := [name for name, value in fitted.items() if value.is_complex()]:
        raise UserError(
            f"checkpoint {path!r} holds complex numbers in {len(unreal)} backbone tensors, first {unreal[0]!r}: their "
            "imaginary parts would be left out; take another checkpoint"
        )
    # Of finite numbers if its sum is, found in a fraction of the time; a sum may also overflow.
    broken = [name for name, value in fitted.items()
              if not (torch.isfinite(value.sum()) or torch.isfinite(value).all())]
    if broken:
        raise UserError(
            f"checkpoint {path!r} holds NaN or infinity in {len(broken)} backbone tensors, first {broken[0]!r}: the "
            "training that wrote it diverged; take an earlier checkpoint"
        )


def misfit_message(
    path: str, fmt: Format, wanted: Mapping[str, Tensor], num_fitted: int, misfits: list[str], missing: list[str]
) -> str:
    """Say what does not fit, and which backbone would.

    Args:
        path: for the message.
        fmt: what was made of the file.
        wanted: names and shapes of the backbone.
        num_fitted: how many of these the file has.
        misfits: those that are there in another shape.
        missing: those that are not there.
    """
    total = num_fitted + len(misfits) + len(missing)
    if not any(name in wanted for name in fmt.encoder):
        inside = ", ".join(map(repr, [*fmt.encoder, *fmt.rest][:3])) or "no tensors"
        return (
            f"checkpoint {path!r} holds no backbone: of the {total} tensors needed, such as {next(iter(wanted))!r}, it "
            f"has none (it has {inside}); give a checkpoint of pretraining or transfer, or timm weights"
        )
    parts = [f"{name} is {size_of(fmt.encoder[name])} there, expected {size_of(wanted[name])}" for name in misfits[:2]]
    if len(misfits) > 2:
        parts.append(f"{len(misfits) - 2} more of another shape")
    if missing:
        parts.append(f"not in the file: {grouped(missing, 3)}")
    there, here = _structure(fmt.encoder), _structure(wanted)
    if there != here:
        hint = f"the file is {there}, the backbone {here}: build it with the architecture of the file"
    elif missing == ["pos_embed"] and any("relative_position_bias_table" in name for name in fmt.encoder):
        hint = "its positions are relative, as BEiT's: build the backbone without others (pos_embed='none')"
    elif missing == ["norm.weight", "norm.bias"] and "norm_pre.weight" in fmt.encoder.keys() - wanted.keys():
        hint = "the file has its norms behind the sums, as data2vec 2.0: build the backbone so (post_norm=True)"
    elif missing == ["norm.weight", "norm.bias"]:
        hint = "the file has no final norm: build the backbone without one (final_norm=False)"
    elif missing == ["cls_token"]:
        hint = "the file has no class token: build the backbone without one (model_kwargs=dict(class_token=False))"
    else:
        hint = "build the backbone with the options of the checkpoint"
    fits = f"only {num_fitted} of {total} backbone tensors fit"
    return f"checkpoint {path!r} ({fmt.source}): {fits}: {'; '.join(parts)}; {hint}"


def _structure(state: Mapping[str, Tensor]) -> str:
    """Describe a backbone by what users choose: "width 768, 12 blocks", "width 96, 2-2-6-2 blocks"."""
    kernels = (tensor for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 4)
    stem = state.get("patch_embed.proj.weight", next(kernels, None))
    # In stages of Swin and ConvNeXt, of a RegNet, of a ResNet; a ViT has no stages.
    block = re.compile(r"(?:(?:layers|stages)\.(\d+)\.)?blocks\.(\d+)\.|s(\d)\.b(\d+)\.|layer(\d)\.(\d+)\.")
    blocks = {tuple(part for part in found.groups() if part) for name in state if (found := block.match(name))}
    depths = Counter(place[:-1] for place in sorted(blocks))
    width = f"width {stem.shape[0]}, " if stem is not None and stem.ndim else ""
    return f"{width}{'-'.join(map(str, depths.values())) or 0} blocks"


def _depth(state: Mapping[str, Tensor]) -> int:
    return 1 + max(map(_block, state), default=-1)


def _block(name: str) -> int:
    """Return the number of a ViT's block or of a stage, -1 outside of them."""
    found = re.match(r"(?:blocks|layers|stages)\.(\d+)\.", name)
    return int(found.group(1)) if found else -1


def size_of(tensor: Tensor) -> str:
    """Write the shape of a tensor: "768x3x16x16"."""
    return "x".join(map(str, tensor.shape)) or "a scalar"


def starred(name: str) -> str:
    """Write a star for the numbers in a name: "blocks.*.norm1.weight"."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def grouped(names: Iterable[str], limit: int = 8) -> str:
    """Write many names as few: "blocks.*.attn.rel_pos_h (12), mask_token"."""
    names = list(names)
    groups = [starred(name) for name in names]
    if len(set(groups)) > limit:
        groups = [name.partition(".")[0] + (".*" if "." in name else "") for name in names]
    counts = Counter(groups)
    shown = [group if count == 1 else f"{group} ({count})" for group, count in list(counts.items())[:limit]]
    return ", ".join(shown) + (f" and {len(counts) - limit} more" if len(counts) > limit else "")
