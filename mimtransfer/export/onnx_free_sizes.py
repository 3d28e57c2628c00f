"""Layers that torch.onnx writes for the size of one image, in a form in which the size stays free."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def free_sizes(model: nn.Module) -> nn.Module:
    """Replace layers inside a model, which is changed: pooling to a grid, and mmseg's `Upsample` by a factor."""
    for name, child in list(model.named_children()):
        layer: Any = child
        if isinstance(child, nn.AdaptiveAvgPool2d):
            setattr(model, name, PoolToGrid(child.output_size))
        elif type(child).__name__ == "Upsample" and not layer.size and float(layer.scale_factor).is_integer():
            setattr(model, name, Enlarge(int(layer.scale_factor), layer.mode, layer.align_corners))
        else:
            free_sizes(child)
    return model


class PoolToGrid(nn.Module):
    """`AdaptiveAvgPool2d` as two products of matrices; ONNX has no pooling to a number of cells.

    Args:
        cells: number, or (rows, columns); None in it keeps the side.
    """

    def __init__(self, cells: Any) -> None:
        super().__init__()
        self.rows, self.columns = cells if isinstance(cells, tuple | list) else (cells, cells)

    def forward(self, maps: Tensor) -> Tensor:
        """Return [B, C, rows, columns] of maps [B, C, h, w]."""
        if self.rows is not None:
            maps = _shares(maps.shape[2], self.rows) @ maps
        return maps if self.columns is None else maps @ _shares(maps.shape[3], self.columns).T


def _shares(side: int, cells: int) -> Tensor:
    """Return what each cell takes of each place, [cells, side]. Cells overlap where the side is no multiple."""
    numbers, places = torch.arange(cells)[:, None], torch.arange(side)
    inside = (places >= numbers * side // cells) & (places < ((numbers + 1) * side + cells - 1) // cells)
    return inside.float() / inside.sum(1, keepdim=True)


class Enlarge(nn.Module):
    """Resize by an integer; mmseg multiplies the sides as floating-point numbers, which fixes them in a graph."""

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, maps: Tensor) -> Tensor:
        """Return [B, C, factor * h, factor * w] of maps [B, C, h, w]."""
        size = [side * self.factor for side in maps.shape[2:]]
        return F.interpolate(maps, size, mode=self.mode, align_corners=self.align_corners)
