"""What the stand-in ops share: the number format they compute in, when they must be deterministic, and bilinear
sampling with zeros outside in plain torch, deterministic where CUDA's grid_sample is not.
"""
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return half precision as float32, other tensors as they are.

    torchvision has no bfloat16 kernels, and its float16 ones add up in half.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def kernel(function: Callable) -> Callable:
    """Run an op as compiled code would: outside autograd, and with autocast off, which would narrow what is widened."""

    @functools.wraps(function)
    def run(first: Tensor, *args, **kwargs):
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    return run


def pair_on_device(first: float, second: float, like: Tensor) -> Tensor:
    """Return [2] of two numbers in the dtype and on the device of `like`. `new_tensor` would upload them, for which the
    host waits.
    """
    pair = like.new_full((2,), first)
    pair[1:].fill_(second)
    return pair


def must_be_deterministic(tensor: Tensor) -> bool:
    """Tell whether a CUDA kernel that adds with atomics would raise, as under `randomness=dict(deterministic=True)`."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()


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
    total: Any = 0
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = maps[group, :, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            total = total + pixel * (row_weight * column_weight * inside)[..., None]
    return total
