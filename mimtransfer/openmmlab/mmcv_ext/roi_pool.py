"""RoIPool (Girshick 2015, Fast R-CNN, arXiv:1504.08083), as `mmcv._ext` names it.

Plain torch: mmcv pools from x1 * scale to (x2 + 1) * scale and rounds every bin outwards; torchvision rounds the
corners of the box first.
"""
import torch
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import kernel, widen

_CHUNK = 2**24  # elements of the widest temporary, 64 MB in float32


def _bins(start: Tensor, size: Tensor, num_bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """Return, along one axis, the first pixel of each bin and the one after its last, [K, num_bins] int64."""
    step = (size / num_bins)[:, None]
    bins = torch.arange(num_bins, device=start.device, dtype=start.dtype)
    first = torch.floor(bins * step + start[:, None]).clamp(0, limit).long()
    end = torch.ceil((bins + 1) * step + start[:, None]).clamp(0, limit).long()
    return first, torch.where(size[:, None] > 0, end, first)  # a box without size has empty bins


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
    left, right = _bins(start[:, 0], size[:, 0], pooled_width, width)
    top, bottom = _bins(start[:, 1], size[:, 1], pooled_height, height)
    pixels = maps.permute(0, 2, 3, 1).contiguous()
    longest = torch.stack([(right - left).amax(1), (bottom - top).amax(1)], 1)
    output.zero_()
    argmax.fill_(-1)
    for columns, rows in torch.unique(longest, dim=0).tolist():
        if columns * rows == 0:
            continue
        members = ((longest[:, 0] == columns) & (longest[:, 1] == rows)).nonzero()[:, 0]
        per_box = channels * pooled_height * rows * pooled_width * columns
        for k in members.split(max(1, _CHUNK // per_box)):
            y = top[k][:, :, None, None, None] + torch.arange(rows, device=maps.device)[:, None]
            x = left[k][:, None, :, None, None] + torch.arange(columns, device=maps.device)
            inside = (y < bottom[k][:, :, None, None, None]) & (x < right[k][:, None, :, None, None])
            index = (y.clamp(max=height - 1) * width + x.clamp(max=width - 1)).flatten(3)  # [k, ph, pw, rows * columns]
            values = pixels.flatten(1, 2)[boxes[k, 0].long()[:, None, None, None], index]
            largest, at = values.masked_fill(~inside.flatten(3)[..., None], -torch.inf).max(dim=3)  # first of equals
            filled = inside.flatten(3).any(-1)[..., None]
            largest, at = torch.where(filled, largest, 0.0), torch.where(filled, index.gather(3, at), -1)
            output[k] = largest.permute(0, 3, 1, 2).to(output.dtype)
            argmax[k] = at.permute(0, 3, 1, 2).to(argmax.dtype)


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
