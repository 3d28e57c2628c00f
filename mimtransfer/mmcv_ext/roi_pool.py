"""RoIPool (Girshick 2015, Fast R-CNN, arXiv:1504.08083), as `mmcv._ext` names it.

Plain torch: mmcv pools from x1 * scale to (x2 + 1) * scale and rounds every bin outwards; torchvision rounds the
corners of the box first.
"""
import torch
from torch import Tensor

from mimtransfer.mmcv_ext.precision import kernel, widen

_CHUNK = 2**24  # elements of the widest temporary, 64 MB in float32


def _bins(start: Tensor, size: Tensor, num_bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """Return, along one axis, pixel indices [K, num_bins, S] int64 of each bin and which of them count, bool."""
    step = (size / num_bins)[:, None]
    bins = torch.arange(num_bins, device=start.device, dtype=start.dtype)
    first = torch.floor(bins * step + start[:, None]).clamp(0, limit).long()
    last = torch.ceil((bins + 1) * step + start[:, None]).clamp(0, limit).long()
    last = torch.where(size[:, None] > 0, last, first)  # a box without size has empty bins
    longest = max(int((last - first).max()), 1)
    index = first[..., None] + torch.arange(longest, device=start.device)
    return index.clamp(max=limit - 1), index < last[..., None]


@kernel
def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill `output` [K, C, ph, pw] with the largest value of each bin, `argmax` int32 with its pixel; 0, -1 if empty.

    Args:
        rois: [K, 5] image index, x1 y1 x2 y2 in image pixels; the last pixel belongs to the box.
    """
    if not len(rois):
        return
    maps = widen(input)
    boxes = rois.to(maps.dtype)
    channels, height, width = maps.shape[1:]
    start = boxes[:, 1:3] * spatial_scale
    size = (boxes[:, 3:] + 1) * spatial_scale - start
    size = torch.where((size > 0).all(1, keepdim=True), size, 0.0)
    columns, in_column = _bins(start[:, 0], size[:, 0], pooled_width, width)
    rows, in_row = _bins(start[:, 1], size[:, 1], pooled_height, height)
    channel = torch.arange(channels, device=maps.device)
    pw = torch.arange(pooled_width, device=maps.device)[:, None]
    ph = torch.arange(pooled_height, device=maps.device)[:, None, None]
    chunk = max(1, _CHUNK // (channels * height * columns[0].numel()))
    for at in range(0, len(boxes), chunk):
        part = slice(at, at + chunk)
        pixels = maps[boxes[part, 0].long()]  # [k, C, H, W]
        number = torch.arange(len(pixels), device=maps.device)[:, None, None]
        # Along x, then along y: ties fall to the first pixel in row-major order, as in a loop over rows and columns.
        lines = pixels[number, :, :, columns[part]].masked_fill(~in_column[part, ..., None, None], -torch.inf)
        lines, best_x = lines.max(dim=2)  # [k, pw, C, H]
        cells = lines[number, :, :, rows[part]].masked_fill(~in_row[part, ..., None, None], -torch.inf)
        values, best_y = cells.max(dim=2)  # [k, ph, pw, C]
        number = number[..., None]
        y = rows[part][number, ph, best_y]
        x = columns[part][number, pw, best_x[number, pw, channel, y]]
        filled = (in_row[part].any(-1)[:, :, None] & in_column[part].any(-1)[:, None])[..., None]
        output[part] = torch.where(filled, values, 0.0).permute(0, 3, 1, 2).to(output.dtype)
        argmax[part] = torch.where(filled, y * width + x, -1).permute(0, 3, 1, 2).to(argmax.dtype)


@kernel
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add the gradient [K, C, ph, pw] of each bin to its largest pixel in `grad_input` [B, C, H, W]."""
    batch, channels, height, width = grad_input.shape
    planes = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    index = planes[:, :, None, None] * (height * width) + argmax
    filled = argmax >= 0
    total = widen(grad_input).flatten().index_add(0, index[filled], widen(grad_output)[filled])
    grad_input.copy_(total.view(batch, channels, height, width))
