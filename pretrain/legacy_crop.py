"""The crop of weight maps as the released code of AMT has it, to measure what the published gains owe to it.

The code (guijiejie/AMT, `maskRandomResizedCrop`; the FAMT tree has the same line) divides pixel coordinates by the
image size without multiplying them by the grid. So whatever is cropped, the map is cut to its top left 2 x 2 cells, 3
rows or columns where the crop reaches the lower or right border of the image, and that corner is blown up.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.record import AugRecord

_PATCH = 16  # side of the released code's patches in pixels: it blows the corner up to pixels and sums over patches


def crop_maps_legacy(maps: Tensor, record: AugRecord, grid: tuple[int, int]) -> Tensor:
    """Crop and flip maps as the released code does; see the module.

    Args:
        maps: [B, h, w] real, on the device of the record, at least 3 x 3.
        record: boxes and flips.
        grid: (h', w') of the augmented image in patches.

    Returns:
        [B, h', w'] float32: mean over each patch of the corner, clamped to [0, 1].
    """
    _, _, bottom, right = record.box.unbind(1)
    to_bottom, to_right = (bottom >= 1)[:, None, None], (right >= 1)[:, None, None]
    corner = {(r, c): _blow_up(maps[:, :r, :c], grid) for r in (2, 3) for c in (2, 3)}
    cropped = torch.where(
        to_bottom,
        torch.where(to_right, corner[3, 3], corner[3, 2]),
        torch.where(to_right, corner[2, 3], corner[2, 2]),
    )
    return torch.where(record.flip[:, None, None], cropped.flip(2), cropped)


def _blow_up(corner: Tensor, grid: tuple[int, int]) -> Tensor:
    size = (grid[0] * _PATCH, grid[1] * _PATCH)
    pixels = F.interpolate(corner[:, None].float(), size=size, mode="bilinear", align_corners=False)
    return F.avg_pool2d(pixels.clamp(0, 1), _PATCH)[:, 0]
