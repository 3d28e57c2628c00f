"""Load a pretraining checkpoint into a backbone: wholly, with a report, or not at all.

Names are brought to timm's by `key_maps`, sizes to the backbone's by `resample`. A load that leaves a parameter of the
backbone at its random initialisation is an error, unless the backbone expects it (`expected_missing_keys`).
"""
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from mimtransfer.checkpoints.channels import fit_channels, stem_of
from mimtransfer.checkpoints.eva import to_eva
from mimtransfer.checkpoints.formats import Format, pretraining_of, read_format
from mimtransfer.checkpoints.resample import Positions, fit_other, fit_positions, fold_prefix, grid_of, split_positions
from mimtransfer.checkpoints.rotary import check_positions, naming_arch
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file


@dataclass
class LoadReport:
    """What became of a checkpoint. Names are the backbone's; `unexpected` outside the encoder has the file's."""

    path: str
    sha256: str  # of the file
    source: str  # format of the file
    matched: list[str]  # loaded, resized ones included
    missing: list[str]  # needed but not in the file; empty, or the load would have failed
    expected_missing: list[str]  # not in the file and not expected there: they keep their initialisation
    unexpected: list[str]  # in the file and not used
    resized: dict[str, str]  # name -> "from -> to"
    pretraining: dict[str, Any] | None  # meta['mimtransfer'] of the file

    def summary(self) -> str:
        """Return a few lines for the log."""
        total = len(self.matched) + len(self.missing) + len(self.expected_missing)
        lines = [
            f"Loaded {self.path} ({self.source}, sha256 {self.sha256[:12]})",
            f"matched {len(self.matched)} of {total} backbone tensors",
        ]
        if self.resized:
            changes = dict.fromkeys(f"{_starred(name)} {change}" for name, change in self.resized.items())
            lines.append(f"resized: {'; '.join(changes)}")
        if self.expected_missing:
            lines.append(f"not in the file, as expected, and left as initialised: {_grouped(self.expected_missing)}")
        if self.unexpected:
            lines.append(f"not used from the file: {_grouped(self.unexpected)}")
        if self.pretraining:
            keys = ("kind", "method", "strategy", "arch", "epoch", "run_id")
            said = [f"{key} {' '.join(str(self.pretraining[key]).split())[:80]}" for key in keys
                    if self.pretraining.get(key)]
            lines.append(f"written by: {', '.join(said)}")
        return "\n  ".join(lines)

    __str__ = summary

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain containers, for JSON."""
        return asdict(self)


def load_backbone(backbone: nn.Module, path: str | os.PathLike) -> LoadReport:
    """Load the encoder of a checkpoint into a backbone.

    Args:
        backbone: a module with timm's parameter names, on any device but meta. `expected_missing_keys()`, where it has
            it, gives fnmatch patterns of tensors that a checkpoint may lack.
        path: a checkpoint of our pretraining or transfer, or of a codebase that `key_maps` and `foreign_names` know, as
            .pth, .safetensors, .pkl (detectron2) or TorchScript archive (OpenAI CLIP).

    Raises:
        UserError: unreadable file, another architecture, or a part of the backbone is not in the file. The backbone is
            then as it was.
    """
    path = os.fspath(path)
    checkpoint = read_checkpoint(path)
    fmt, pretraining = read_format(checkpoint), pretraining_of(checkpoint)
    wanted = backbone.state_dict()
    assert not any(tensor.is_meta for tensor in wanted.values()), "nothing can be loaded into a backbone on meta"

    patterns = tuple(getattr(backbone, "expected_missing_keys", tuple)())
    family = check_positions(path, checkpoint, fmt, backbone, may_lack="pos_embed" in patterns)
    read = fmt
    if any(re.search(r"\.(gamma_1|attn\.q_bias|attn\.q_proj\.weight)$", name) for name in wanted):
        fmt = fmt._replace(encoder=to_eva(fmt.encoder, wanted))
    fitted, resized, misfits = _fit(backbone, wanted, fmt.encoder, pretraining)
    absent = [name for name in wanted if name not in fitted and name not in misfits]
    # Integer buffers (index tables, batch counters) follow from the configuration.
    expected = [
        name
        for name in absent
        if not wanted[name].is_floating_point() or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    missing = [name for name in absent if name not in expected]
    unused = [name for name in fmt.encoder if name not in wanted]
    with naming_arch(read, family):
        if misfits or missing:
            raise UserError(_misfit_message(path, fmt, wanted, len(fitted), misfits, missing))
        _check_unused(path, fmt, wanted, unused, getattr(backbone, "depth", None))
    _check_numbers(path, fitted)
    with torch.no_grad():
        for name, value in fitted.items():
            wanted[name].copy_(value)
    unexpected = unused + fmt.rest
    return LoadReport(
        path, sha256_file(path), fmt.source, list(fitted), missing, expected, unexpected, resized, pretraining
    )


def _fit(
    backbone: nn.Module,
    wanted: Mapping[str, Tensor],
    encoder: Mapping[str, Tensor],
    pretraining: Mapping[str, Any] | None,
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Bring what the file has of the backbone to the backbone's shapes.

    Returns:
        Tensors that fit, what was changed for it, and names of those that cannot fit.
    """
    fitted: dict[str, Tensor] = {}
    resized: dict[str, str] = {}
    misfits = []
    stem = stem_of(wanted)
    for name, target in wanted.items():
        value = encoder.get(name)
        if name == "pos_embed" or value is None or not (target.is_floating_point() or value.shape == target.shape):
            continue
        adapted: Tensor | None = value
        if value.shape != target.shape:
            of_channels = value
            resized[name] = f"{_by(value)} -> {_by(target)}"
            if name == stem and value.ndim == 4 and value.shape[1] != target.shape[1]:
                of_channels, said = fit_channels(value, target.shape[1])
                resized[name] += f" ({said})"
            adapted = of_channels
            if of_channels.shape != target.shape:
                adapted = fit_other(name, of_channels, target, backbone.get_submodule(name.rpartition(".")[0]))
        if adapted is None:
            misfits.append(name)
            del resized[name]
        else:
            fitted[name] = adapted
    if (
        "pos_embed" in wanted
        and "pos_embed" in encoder
        and not _fit_pos_embed(backbone, wanted["pos_embed"], encoder, pretraining, fitted, resized)
    ):
        misfits.append("pos_embed")
    return fitted, resized, misfits


def _fit_pos_embed(
    backbone: nn.Module,
    target: Tensor,
    encoder: Mapping[str, Tensor],
    pretraining: Mapping[str, Any] | None,
    fitted: dict[str, Tensor],
    resized: dict[str, str],
) -> bool:
    """Put the position embedding into `fitted` and what was done to it into `resized`, or return False."""
    value = encoder["pos_embed"]
    grid = (target.shape[1], target.shape[2]) if target.ndim == 4 else grid_of(backbone)
    # Only our own files say their grid; the number of tokens alone does not tell 16x16 from 8x32.
    known = (pretraining or {}).get("grid")
    source = None if grid is None else split_positions(value, encoder, grid, (known[0], known[1]) if known else None)
    if source is None or grid is None:
        if value.shape != target.shape:
            return False
        fitted["pos_embed"] = value
        return True
    adapted = fit_positions(source, target, grid)
    if adapted is None:
        return False
    fitted["pos_embed"] = adapted
    num_prefix = 0 if target.ndim == 4 else target.shape[1] - grid[0] * grid[1]
    after = Positions(source.prefix.new_empty(1, num_prefix, 0), adapted, grid)
    if str(source) != str(after):
        resized["pos_embed"] = f"{source} -> {after}"
    if num_prefix == 0:
        for name in fold_prefix(source, fitted):
            resized[name] = "its position added, for pos_embed holds none"
    return True


def _check_unused(
    path: str, fmt: Format, wanted: Mapping[str, Tensor], unused: list[str], declared_depth: int | None
) -> None:
    """Refuse a file whose encoder has more than the backbone: that loads without a gap and computes something else."""
    # Our backbones build nothing behind the last block or stage whose output they return: no other architecture.
    if declared_depth is not None and declared_depth == _depth(fmt.encoder):
        own_depth = _depth(wanted)
        unused = [name for name in unused if _block(name) < own_depth]
    shapes = {_starred(name) for name in wanted}
    deeper = [name for name in unused if _starred(name) in shapes]
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
    inside = [
        name
        for name in unused
        if name.partition(".")[0] in containers
        and fmt.encoder[name].is_floating_point()
        and not re.search("rel_pos|relative_position", name)
    ]
    if inside:
        raise UserError(
            f"checkpoint {path!r} ({fmt.source}) has tensors inside its blocks that the backbone lacks: "
            f"{_grouped(inside)}; build the backbone with the options of the checkpoint (layer scale, q/k norm ...)"
        )


def _check_numbers(path: str, fitted: Mapping[str, Tensor]) -> None:
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


def _misfit_message(
    path: str, fmt: Format, wanted: Mapping[str, Tensor], num_fitted: int, misfits: list[str], missing: list[str]
) -> str:
    total = num_fitted + len(misfits) + len(missing)
    if not any(name in wanted for name in fmt.encoder):
        inside = ", ".join(map(repr, [*fmt.encoder, *fmt.rest][:3])) or "no tensors"
        return (
            f"checkpoint {path!r} holds no backbone: of the {total} tensors needed, such as {next(iter(wanted))!r}, it "
            f"has none (it has {inside}); give a checkpoint of pretraining or transfer, or timm weights"
        )
    parts = [f"{name} is {_by(fmt.encoder[name])} there, expected {_by(wanted[name])}" for name in misfits[:2]]
    if len(misfits) > 2:
        parts.append(f"{len(misfits) - 2} more of another shape")
    if missing:
        parts.append(f"not in the file: {_grouped(missing, 3)}")
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


def _by(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _starred(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def _grouped(names: Iterable[str], limit: int = 8) -> str:
    """Write many names as few: "blocks.*.attn.rel_pos_h (12), mask_token"."""
    names = list(names)
    groups = [_starred(name) for name in names]
    if len(set(groups)) > limit:
        groups = [name.partition(".")[0] + (".*" if "." in name else "") for name in names]
    counts = Counter(groups)
    shown = [group if count == 1 else f"{group} ({count})" for group, count in list(counts.items())[:limit]]
    return ", ".join(shown) + (f" and {len(counts) - limit} more" if len(counts) > limit else "")
