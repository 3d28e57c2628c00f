"""Moving and mixing pixels: Gaussian blur, box resizing, zoom, bilinear sampling. All on batches, on any device.

A separable linear filter along an axis of n pixels is a matrix [n, n], borders included: exact for any width, and fast.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def fold(index: Tensor, size: int, border: str) -> Tensor:
    """Bring indices outside of 0 ... size - 1 back inside.

    Args:
        index: int64, any shape.
        border: 'nearest' (a a | a b c | c c), 'symmetric' (b a | a b c | c b) or 'mirror' (c b | a b c | b a).
    """
    if border == "nearest":
        return index.clamp(0, size - 1)
    period = 2 * size if border == "symmetric" else max(1, 2 * size - 2)
    index = index % period
    return torch.where(index < size, index, period - index - int(border == "symmetric"))


def gaussian_blur(x: Tensor, sigma: float, border: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Blur [..., H, W] float by a Gaussian that is cut at `truncate` stds; sigma in pixels."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return x
    offsets = torch.arange(-radius, radius + 1, device=x.device)
    weights = torch.softmax(-0.5 * (offsets.double() / sigma) ** 2, dim=0).to(x.dtype)

    def matrix(size: int) -> Tensor:
        columns = fold(torch.arange(size, device=x.device)[:, None] + offsets, size, border)
        return x.new_zeros(size, size).scatter_add_(1, columns, weights.expand(size, -1))

    return matrix(x.shape[-2]) @ x @ matrix(x.shape[-1]).T


def box_resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize [..., H, W] float in [0, 1] as Pillow's BOX filter does 8-bit images, which it rounds after each axis."""

    def matrix(size: int, target: int) -> Tensor:
        scale = size / target
        centre = (torch.arange(target, device=x.device).double()[:, None] + 0.5) * scale
        support = 0.5 * max(scale, 1.0)
        first, last = (centre - support + 0.5).floor().clamp_min(0), (centre + support + 0.5).floor().clamp_max(size)
        pixel = torch.arange(size, device=x.device)
        inside = ((pixel + 0.5 - centre) / max(scale, 1.0)).add(0.5)
        weights = ((pixel >= first) & (pixel < last) & (inside > 0) & (inside <= 1)).to(x.dtype)
        return weights / weights.sum(1, keepdim=True)

    def rounded(y: Tensor) -> Tensor:
        return (y * 255 + 0.5).floor() / 255

    x = rounded(x @ matrix(x.shape[-1], width).T)
    return rounded(matrix(x.shape[-2], height) @ x)


def zoom(x: Tensor, factor: float) -> Tensor:
    """Enlarge the centre of [B, C, H, W] linearly, at the same size; corners of the cut-out stay corners."""
    height, width = x.shape[-2:]
    inner = [math.ceil(size / factor) for size in (height, width)]
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    size = [round(side * factor) for side in inner]
    centre = x[..., top : top + inner[0], left : left + inner[1]]
    large = F.interpolate(centre, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[..., top : top + height, left : left + width]


def zoom_factors(stop: float, step: float) -> list[float]:
    """Return 1, 1 + step ... below stop, with the roundings of numpy's `arange`, which decide on the last."""
    return np.arange(1, stop, step).tolist()


def pick(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Take the pixels [B, C, h, w] of [B, C, H, W] at whole positions [B, h, w]."""
    index = (rows * x.shape[-1] + columns).flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).view(*x.shape[:2], *rows.shape[1:])


def bilinear(x: Tensor, rows: Tensor, columns: Tensor, border: str) -> Tensor:
    """Sample [B, C, H, W] at positions [B, h, w] float in pixels, 0 is the centre of the first."""
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]

    def corner(dy: int, dx: int) -> Tensor:
        return pick(x, fold(top.long() + dy, x.shape[-2], border), fold(left.long() + dx, x.shape[-1], border))

    upper = corner(0, 0).lerp(corner(0, 1), right)
    lower = corner(1, 0).lerp(corner(1, 1), right)
    return upper.lerp(lower, down)


def motion(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Smear images in one direction: 2 * radius + 1 whole-pixel shifts with the weights of half a Gaussian.

    Args:
        x: [B, C, H, W] float.
        radius, sigma: in pixels.
        angle: [B] in degrees, of the movement: 0 is to the right, 90 down.
    """
    steps = torch.arange(2 * radius + 1, device=x.device)
    weights = torch.softmax(-0.5 * (steps.double() / sigma) ** 2, dim=0).to(x.dtype)
    radians = angle.double().deg2rad()[:, None]
    down, right = ((steps * part - 0.5).ceil().long() for part in (radians.sin(), radians.cos()))  # [B, steps]
    row, column = (torch.arange(size, device=x.device) for size in x.shape[-2:])
    total = torch.zeros_like(x)
    for step, weight in enumerate(weights):
        rows = fold(row + down[:, step, None], x.shape[-2], "nearest")[:, :, None]
        columns = fold(column + right[:, step, None], x.shape[-1], "nearest")[:, None, :]
        total += weight * pick(x, *torch.broadcast_tensors(rows, columns))
    return total
