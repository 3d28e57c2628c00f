"""RoIAlign (He et al. 2017, Mask R-CNN, arXiv:1703.06870), average and max, as `mmcv._ext` names it.

The average runs on torchvision's kernels, which sample the same points. Max pooling, and the average when deterministic
algorithms are asked for, is plain torch: `_samples` reads all boxes with the same number of samples per bin at once.
"""
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import kernel, must_be_deterministic, pair_on_device, widen

_CHUNK = 2**24  # elements of the widest temporary, 64 MB in float32


class BinGrid:
    """Where the bins of boxes lie on the map: start, bin side and samples per bin along x and y, each [K, 2]."""

    def __init__(self, boxes: Tensor, bins: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool):
        corners = boxes[:, 1:] * scale - (0.5 if aligned else 0.0)
        size = corners[:, 2:] - corners[:, :2]
        if not aligned:
            size = size.clamp(min=1)
        self.bins, self.start = bins, corners[:, :2]
        self.step = size / pair_on_device(bins[1], bins[0], size)
        count = torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else torch.ceil(self.step).clamp(min=0)
        self.count = count.long()

    def position(self, axis: int, index: Tensor, sample: Tensor, boxes: Tensor) -> Tensor:
        """Return map coordinates of samples of bins along x (axis 0) or y (axis 1); the index tensors broadcast."""
        start, step, count = (t[boxes, axis] for t in (self.start, self.step, self.count))
        return start + index * step + (sample + 0.5) * step / count.clamp(min=1)


def _neighbours(position: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return lower and upper pixel index and their weights: up to one pixel outside the border counts, then nothing."""
    inside = (position >= -1) & (position <= limit)
    clamped = position.clamp(0, limit - 1)
    low = clamped.floor()
    high_weight = clamped - low
    low = low.long()
    return low, (low + 1).clamp(max=limit - 1), (1 - high_weight) * inside, high_weight * inside


def _samples(maps: Tensor, boxes: Tensor, grid: BinGrid) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield box numbers [k] and sampled values [k, ph, pw, C, gy * gx] (row-major), for boxes that have samples."""
    channels, height, width = maps.shape[1:]
    pixels = maps.permute(0, 2, 3, 1).contiguous()  # a pixel's channels side by side: one read per neighbour
    for gx, gy in torch.unique(grid.count, dim=0).tolist():
        if gx * gy == 0:
            continue
        members = ((grid.count[:, 0] == gx) & (grid.count[:, 1] == gy)).nonzero()[:, 0]
        rows, columns = grid.bins[0] * gy, grid.bins[1] * gx
        y, x = torch.arange(rows, device=maps.device), torch.arange(columns, device=maps.device)
        for k in members.split(max(1, _CHUNK // (channels * rows * columns))):
            image = boxes[k, 0].long()[:, None, None]
            y_sides = [t[:, :, None] for t in _neighbours(grid.position(1, y // gy, y % gy, k[:, None]), height)]
            x_sides = [t[:, None, :] for t in _neighbours(grid.position(0, x // gx, x % gx, k[:, None]), width)]
            values: Any = 0
            for row, row_weight in zip(y_sides[:2], y_sides[2:]):
                for column, column_weight in zip(x_sides[:2], x_sides[2:]):
                    values = values + pixels[image, row, column] * (row_weight * column_weight)[..., None]
            values = values.view(len(k), grid.bins[0], gy, grid.bins[1], gx, channels)  # [k, rows, columns, C] before
            yield k, values.permute(0, 1, 3, 5, 2, 4).flatten(4)


def average_bins(maps: Tensor, boxes: Tensor, grid: BinGrid) -> Tensor:
    """Return the mean sample of each bin [K, C, ph, pw], differentiable by `maps`, deterministic on CUDA."""
    pooled = maps.new_zeros(len(boxes), *grid.bins, maps.shape[1])
    for k, values in _samples(maps, boxes, grid):
        pooled = pooled.index_add(0, k, values.mean(-1))
    return pooled.permute(0, 3, 1, 2)


def _max_bins_backward(
    grad: Tensor, boxes: Tensor, sample_y: Tensor, sample_x: Tensor, grid: BinGrid, shape: torch.Size
) -> Tensor:
    """Return the gradient [B, C, H, W]: that of each bin, spread over the four neighbours of its largest sample."""
    _, channels, height, width = shape
    number = torch.arange(len(boxes), device=grad.device)[:, None, None, None]
    ph = torch.arange(grid.bins[0], device=grad.device)[:, None]
    pw = torch.arange(grid.bins[1], device=grad.device)
    y_sides = _neighbours(grid.position(1, ph, sample_y.clamp(min=0), number), height)
    x_sides = _neighbours(grid.position(0, pw, sample_x.clamp(min=0), number), width)
    plane = boxes[:, 0].long()[:, None] * channels + torch.arange(channels, device=grad.device)
    grad = torch.where(sample_y >= 0, grad, 0.0)
    total = grad.new_zeros(shape.numel())
    for y, y_weight in zip(y_sides[:2], y_sides[2:]):
        for x, x_weight in zip(x_sides[:2], x_sides[2:]):
            pixel = (plane[:, :, None, None] * height + y) * width + x
            total.index_add_(0, pixel.flatten(), (grad * y_weight * x_weight).flatten())
    return total.view(shape)


def _check_sizes(boxes: Tensor, aligned: bool) -> None:
    if not aligned or boxes.is_cuda:  # on CUDA the test would wait for the device
        return
    bad = (boxes[:, 3:] < boxes[:, 1:3]).any(1)
    if bad.any():
        image, *corners = boxes[bad][0].tolist()
        raise ValueError(f"roi_align (aligned) expected boxes with x2 >= x1, y2 >= y1, got {corners}, image {image:g}")


@kernel
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` [K, C, ph, pw] with the mean (pool_mode 1) or maximum (0) of bilinear samples; 0 without samples.

    Args:
        rois: [K, 5] image index, x1 y1 x2 y2 in image pixels.
        argmax_y, argmax_x: for the maximum, filled with the number of the sample in its bin (-1 for none), which half
            precision holds exactly. The compiled op keeps a rounded coordinate there, for its own backward only.

    Raises:
        ValueError: on the CPU, as the compiled op does, for an aligned box of negative size.
    """
    maps = widen(input)
    boxes = rois.to(maps.dtype)
    _check_sizes(boxes, aligned)
    if pool_mode == 1 and not must_be_deterministic(maps):
        size = (spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
        output.copy_(torch.ops.torchvision.roi_align(maps, boxes, *size))
        return
    grid = BinGrid(boxes, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    if pool_mode == 1:
        output.copy_(average_bins(maps, boxes, grid))
        return
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    for k, values in _samples(maps, boxes, grid):
        largest, sample = values.max(dim=-1)  # [k, ph, pw, C]
        samples_x = grid.count[k[0], 0]
        output[k] = largest.permute(0, 3, 1, 2).to(output.dtype)
        argmax_y[k] = (sample // samples_x).permute(0, 3, 1, 2).to(argmax_y.dtype)
        argmax_x[k] = (sample % samples_x).permute(0, 3, 1, 2).to(argmax_x.dtype)


@kernel
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `grad_input` [B, C, H, W] from the gradient [K, C, ph, pw] of the bins."""
    grad = widen(grad_output)
    boxes = rois.to(grad.dtype)
    if pool_mode == 1 and not must_be_deterministic(grad):
        size = (spatial_scale, aligned_height, aligned_width, *grad_input.shape, sampling_ratio, aligned)
        grad_input.copy_(torch.ops.torchvision._roi_align_backward(grad, boxes, *size))
        return
    grid = BinGrid(boxes, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    if pool_mode == 1:
        with torch.enable_grad():
            maps = grad.new_zeros(grad_input.shape, requires_grad=True)  # the mean is linear: same gradient anywhere
            pooled = average_bins(maps, boxes, grid)
        grad_input.copy_(torch.autograd.grad(pooled, maps, grad)[0])
    else:
        grad_input.copy_(_max_bins_backward(grad, boxes, argmax_y.long(), argmax_x.long(), grid, grad_input.shape))
