"""Multi-scale deformable attention (Zhu et al. 2020, Deformable DETR, arXiv:2010.04159, eq. 3), as in `mmcv._ext`.

One `grid_sample` per level; on CUDA under deterministic algorithms `sample_zero_padded` with autograd. mmcv calls these
on CUDA only: on the CPU its own `multi_scale_deformable_attn_pytorch` runs.
"""
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import (
    kernel,
    must_be_deterministic,
    pair_on_device,
    sample_zero_padded,
    widen,
)


def _levels(
    value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield per level: its keys, map [B*K, C, h, w], points [B*K, Q, P, 2] (x y in 0..1) and weights [B*K, 1, Q, P]."""
    start = 0
    for level, (height, width) in enumerate(sizes_of(shapes)):
        keys = slice(start, start := start + height * width)
        maps = value[:, keys].permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, (height, width))
        points = locations[:, :, :, level].transpose(1, 2).flatten(0, 1)
        yield keys, maps, points, weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]


def sizes_of(shapes: Tensor) -> list[list[int]]:
    """Return the heights and widths of the levels. The host waits for the device once for each tensor: all layers of a
    model share one, and its gradients see it again.
    """
    version, sizes = getattr(shapes, "_read_by_host", (None, None))
    if sizes is None or version != shapes._version:
        sizes = shapes.tolist()
        shapes._read_by_host = (shapes._version, sizes)  # type: ignore[attr-defined]
    return sizes


def attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor, deterministic: bool) -> Tensor:
    """Return the weighted sum of sampled values, [B, Q, K * C]; arguments as in `ms_deform_attn_forward`."""
    batch, _, heads, channels = value.shape
    total: Any = 0
    for _, maps, points, weight in _levels(value, shapes, locations, weights):
        if deterministic:
            x, y = (points.flatten(1, 2) * pair_on_device(maps.shape[3], maps.shape[2], points) - 0.5).unbind(-1)
            sampled = sample_zero_padded(maps, y, x).unflatten(1, points.shape[1:3]).permute(0, 3, 1, 2)
        else:
            sampled = F.grid_sample(maps, 2 * points - 1, align_corners=False)  # [B*K, C, Q, P]
        total = total + (sampled * weight).sum(-1)
    return total.view(batch, heads * channels, -1).transpose(1, 2).contiguous()


@kernel
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attend to P sampled points on each of L levels.

    Args:
        value: [B, S, K, C], all levels one after the other, K heads.
        value_spatial_shapes: [L, 2] int64, h w.
        value_level_start_index: [L] int64; follows from the shapes.
        sampling_locations: [B, Q, K, L, P, 2], x y as fractions of the map.
        attention_weights: [B, Q, K, L, P].
        im2col_step: images per step of the compiled op; no effect here.

    Returns:
        [B, Q, K * C] in the dtype of `value`.
    """
    points, weights = widen(sampling_locations), widen(attention_weights)
    deterministic = must_be_deterministic(value)
    return attend(widen(value), value_spatial_shapes, points, weights, deterministic).to(value.dtype)


@kernel
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fill the three gradients, each of the shape of its input."""
    wide, points, weights = (widen(t).detach() for t in (value, sampling_locations, attention_weights))
    if must_be_deterministic(value):
        leaves = [t.requires_grad_() for t in (wide, points, weights)]
        with torch.enable_grad():
            out = attend(wide, value_spatial_shapes, points, weights, deterministic=True)
        grads = torch.autograd.grad(out, leaves, widen(grad_output))
        for into, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads):
            into.copy_(grad)
        return
    batch, _, heads, channels = value.shape
    split = (batch, heads)
    grad = widen(grad_output).transpose(1, 2).reshape(batch * heads, channels, -1, 1)
    bilinear, zeros, align_corners, both = 0, 0, False, [True, True]
    for level, (keys, maps, at, weight) in enumerate(_levels(wide, value_spatial_shapes, points, weights)):
        grid = 2 * at - 1
        grad_weight = (grad * F.grid_sample(maps, grid, align_corners=False)).sum(1)  # [B*K, Q, P]
        grad_map, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad * weight, maps, grid, bilinear, zeros, align_corners, both
        )
        grad_attn_weight[:, :, :, level] = grad_weight.unflatten(0, split).transpose(1, 2).to(grad_attn_weight.dtype)
        grad_loc = 2 * grad_grid.unflatten(0, split).transpose(1, 2)
        grad_sampling_loc[:, :, :, level] = grad_loc.to(grad_sampling_loc.dtype)
        grad_value[:, keys] = grad_map.flatten(2).unflatten(0, split).permute(0, 3, 1, 2).to(grad_value.dtype)
