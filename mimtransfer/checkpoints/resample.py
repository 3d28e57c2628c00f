"""Bring single tensors of a checkpoint to another image size or patch size, as timm does it.

Position embeddings: antialiased bicubic. Patch embedding: pseudo-inverse of the resize (FlexiViT, Beyer et al. 2022,
arXiv 2212.08013). Relative positions: linear along an axis (ViTDet), or BEiT's geometric grid for bias tables.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resample_patch_embed, resize_rel_pos_bias_table
from torch import Tensor, nn

_PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")

Grid = tuple[int, int]


class Positions(NamedTuple):
    """A position embedding taken apart."""

    prefix: Tensor  # [1, P, D], of prefix tokens
    patches: Tensor  # [1, L, D]
    grid: Grid

    def __str__(self) -> str:
        return f"grid {self.grid[0]}x{self.grid[1]} + {self.prefix.shape[1]} prefix"


def grid_of(backbone: nn.Module) -> Grid | None:
    """Return the (h, w) that a backbone's position embedding is made for."""
    grid = getattr(backbone, "grid_size", None) or getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    return None if grid is None else (int(grid[0]), int(grid[1]))


def split_positions(
    value: Tensor, encoder: Mapping[str, Tensor], like: Grid, grid: Grid | None = None
) -> Positions | None:
    """Find out which rows of a position embedding belong to prefix tokens, and the grid of the others.

    Args:
        value: [1, P+L, D], or [1, h, w, D] as in SAM.
        encoder: the state dict it stands in; it tells the number of prefix tokens.
        like: grid of the backbone; where the number of tokens is no square, the file's has the same aspect ratio.
        grid: grid of the file, where it is known.

    Returns:
        None when the rows make no grid.
    """
    if value.ndim not in (3, 4) or len(value) != 1:
        return None
    if value.ndim == 4:
        return Positions(value[:, :0, 0], value.flatten(1, 2), (value.shape[1], value.shape[2]))
    tokens = [encoder[name] for name in _PREFIX_TOKENS if name in encoder]
    num_tokens = sum(token.shape[1] for token in tokens if token.ndim > 1)
    # All prefix tokens have a position (MAE), or only the class token (DINOv2 with registers), or none (DeiT-3). ViTDet
    # keeps the position of a class token that it has no more.
    for num_prefix in dict.fromkeys((num_tokens, min(num_tokens, 1), 0, 1)):
        found = _grid(value.shape[1] - num_prefix, like, grid)
        if found is not None:
            return Positions(value[:, :num_prefix], value[:, num_prefix:], found)
    return None


def _grid(length: int, like: Grid, known: Grid | None) -> Grid | None:
    if known is not None:
        return known if known[0] * known[1] == length else None
    if length <= 0:
        return None
    side = math.isqrt(length)
    if side * side == length:
        return side, side
    scale = math.sqrt(length / (like[0] * like[1]))
    h, w = round(like[0] * scale), round(like[1] * scale)
    return (h, w) if h * w == length and h * like[1] == w * like[0] else None


def fit_positions(source: Positions, target: Tensor, grid: Grid) -> Tensor | None:
    """Bring positions to the grid, the number of prefix rows and the layout of `target`, [1, P+L, D] or [1, h, w, D].

    Prefix tokens without a position in the file get zero, surplus ones are dropped.
    """
    num_prefix = 0 if target.ndim == 4 else target.shape[1] - grid[0] * grid[1]
    if target.shape[-1] != source.patches.shape[-1] or num_prefix < 0:
        return None
    old, new = list(source.grid), list(grid)
    patches = resample_abs_pos_embed(source.patches, new_size=new, old_size=old, num_prefix_tokens=0)
    if target.ndim == 4:
        return patches.unflatten(1, grid)
    prefix = source.prefix[:, :num_prefix]
    return torch.cat([F.pad(prefix, (0, 0, 0, num_prefix - prefix.shape[1])), patches], dim=1)


def fold_prefix(positions: Positions, fitted: dict[str, Tensor]) -> list[str]:
    """Add positions of prefix tokens to the tokens themselves, for a backbone whose `pos_embed` has none: the same sum.

    Returns:
        Names of the tokens that were changed in `fitted`.
    """
    changed, begin = [], 0
    for name in _PREFIX_TOKENS:
        if name in fitted:
            end = begin + fitted[name].shape[1]
            if end <= positions.prefix.shape[1]:
                fitted[name] = fitted[name] + positions.prefix[:, begin:end]
                changed.append(name)
            begin = end
    return changed


def fit_other(name: str, value: Tensor, target: Tensor, owner: Any) -> Tensor | None:
    """Bring a patch embedding or a table of relative positions to the shape of `target`.

    Args:
        owner: the module that holds the tensor; it knows the window of a bias table.

    Returns:
        None for other tensors, and where anything else than the size differs.
    """
    if name.endswith("patch_embed.proj.weight"):
        same = value.ndim == target.ndim == 4 and value.shape[:2] == target.shape[:2]
        return resample_patch_embed(value, list(target.shape[2:])) if same else None
    if value.ndim != 2 or target.ndim != 2 or value.shape[1] != target.shape[1]:
        return None
    if name.endswith(("rel_pos_h", "rel_pos_w")):
        return F.interpolate(value.t()[None].float(), size=target.shape[0], mode="linear")[0].t().to(value.dtype)
    if name.endswith("relative_position_bias_table"):
        table = getattr(owner, "table_size", None)
        window = tuple((side + 1) // 2 for side in table) if table is not None else getattr(owner, "window_size", None)
        if window is None:
            return None
        try:
            return resize_rel_pos_bias_table(value, new_window_size=window, new_bias_shape=tuple(target.shape))
        except ValueError:  # a table of a non-square window: its window is unknown
            return None
    return None
