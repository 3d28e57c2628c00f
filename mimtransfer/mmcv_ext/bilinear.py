"""Bilinear sampling with zeros outside, in plain torch: deterministic where CUDA's grid_sample is not."""
import torch
from torch import Tensor


def sample_zero_padded(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sample every map at its own points; differentiable by all three.

    Args:
        maps: [G, C, H, W].
        y, x: [G, S] in pixels, 0 = centre of the first pixel.

    Returns:
        [G, S, C]; a pixel outside the map counts as 0.
    """
    height, width = maps.shape[2:]
    group = torch.arange(len(maps), device=maps.device)[:, None]
    top, left = y.detach().floor(), x.detach().floor()
    total = 0
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = maps[group, :, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            total = total + pixel * (row_weight * column_weight * inside)[..., None]
    return total
