"""Load a pretraining checkpoint into a backbone: wholly, with a report, or not at all.

Names are brought to timm's by `formats`, sizes to the backbone's by `resample`. A load that leaves a parameter of the
backbone at its random initialisation is an error, unless the backbone expects it (`expected_missing_keys`).
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from mimtransfer.checkpoints.channels import fit_channels, stem_of
from mimtransfer.checkpoints.eva import to_eva
from mimtransfer.checkpoints.formats import pretraining_of, read_format
from mimtransfer.checkpoints.misfits import check_numbers, check_unused, grouped, misfit_message, size_of, starred
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
            changes = dict.fromkeys(f"{starred(name)} {change}" for name, change in self.resized.items())
            lines.append(f"resized: {'; '.join(changes)}")
        if self.expected_missing:
            lines.append(f"not in the file, as expected, and left as initialised: {grouped(self.expected_missing)}")
        if self.unexpected:
            lines.append(f"not used from the file: {grouped(self.unexpected)}")
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


def load_backbone(backbone: nn.Module, path: str | os.PathLike, same_features: bool = False) -> LoadReport:
    """Load the encoder of a checkpoint into a backbone.

    Args:
        backbone: a module with timm's parameter names, on any device but meta. `expected_missing_keys()`, where it has
            it, gives fnmatch patterns of tensors that a checkpoint may lack.
        path: a checkpoint of our pretraining or transfer, or of a codebase that `formats` and `names` know, as .pth,
            .safetensors, .pkl (detectron2) or TorchScript archive (OpenAI CLIP).
        same_features: the backbone has to compute what the file's does; else a training may begin without the relative
            positions of the file.

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
            raise UserError(misfit_message(path, fmt, wanted, len(fitted), misfits, missing))
        check_unused(path, fmt, wanted, unused, getattr(backbone, "depth", None), same_features)
    check_numbers(path, fitted)
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
            resized[name] = f"{size_of(value)} -> {size_of(target)}"
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
