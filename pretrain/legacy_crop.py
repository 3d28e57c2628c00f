"""The crop of weight maps as AMT and FAMT were released: not of the shown part, always of the top left corner.

The authors' code (guijiejie/AMT, mae-AMT/amtdatasets.py) divides the pixels of the crop by the size of the image and
forgets the size of the map. So it cuts out 2 x 2 cells at the top left, 3 along an axis on which the crop ends at the
border of the image, and stretches them over the whole crop. All published numbers that can be traced come from this
code. It is here to measure how much of them depends on it, and for nothing else.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.record import AugRecord

PATCH = 16  # pixels that the released code stretches the corner to, and sums up again, for each side of a patch


def crop_maps_legacy(maps: Tensor, record: AugRecord, grid: tuple[int, int]) -> Tensor:
    """Return the weights that the released code gives the patches of a batch, up to one common factor.

    The corner, stretched bilinearly to 16 pixels for each patch whatever the real size of a patch, flipped with the
    image, and averaged over each patch. The released clamping to [0, 1] never bites: AMT's maps, and what is
    interpolated between their values, lie there, FAMT's of the authors' scale far below 1.

    Args:
        maps: [B, h, w] float, on the device of the record.
        grid: (h', w') of the augmented image.

    Returns:
        [B, h', w'] float32.
    """
    corner = maps[:, :3, :3].float()
    bottom, right = (record.box[:, 2:] >= 1).long().unbind(1)  # 1 where the crop ends at the border
    by_row = _stretch(corner.shape[1], grid[0], maps.device)[bottom]  # [B, 3, h']
    by_column = _stretch(corner.shape[2], grid[1], maps.device)[right]
    # Bilinear is linear along each axis. Not a matrix product, for autocast would round that.
    rows = (by_row[:, :, :, None] * corner[:, :, None]).sum(1)  # [B, h', 3]
    cropped = (rows[:, :, :, None] * by_column[:, None]).sum(2)
    return torch.where(record.flip[:, None, None], cropped.flip(2), cropped)


def _stretch(size: int, cells: int, device: torch.device) -> Tensor:
    """Return how much of each corner cell is in each patch along an axis, for 2 cells and for 3: [2, size, cells]."""
    impulses = torch.eye(size, device=device)[None]
    stretched = [F.interpolate(impulses[:, :, :n], size=cells * PATCH, mode="linear") for n in (2, 3)]
    return torch.cat(stretched).unflatten(2, (cells, PATCH)).mean(3)
