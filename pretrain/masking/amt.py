"""AMT: what the class token attends to is masked first, what follows is thrown (Gui et al., "Good Helper Is around You:
Attention-Driven Masked Image Modeling", AAAI 2023, arXiv 2211.15362v2).

Departures from the authors' code: maps follow the crop; they stay at the resolution of the patches; patches of weight 0
can be drawn, last; any number of heads, patches and images.

The crop of weight maps as AMT and FAMT were released is here too, to measure how much depends on it and for nothing
else. The authors' code (guijiejie/AMT, mae-AMT/amtdatasets.py) divides the pixels of the crop by the size of the image
and forgets the size of the map. So it cuts out 2 x 2 cells at the top left, 3 along an axis on which the crop ends at
the border of the image, and stretches them over the whole crop. All published numbers that can be traced come from it.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.masking.base import WeightedMasking
from pretrain.masking.measured import Measured


@MASKINGS.register_module()
class AMTMasking(Measured, WeightedMasking):
    """Draw patches in proportion to the attention of the class token; without maps all are alike.

    The least attended patch of all heads has weight 0: it is drawn last.

    Args:
        mask_ratio: see `MaskingStrategy`; the authors mask 0.45 and throw 0.40, or mask 0.75 and throw nothing.
        throw: see `WeightedMasking`.
        legacy_crop: weigh by the top left corner of the map whatever was cropped, as the released code does.
        source: see `Measured`.
        warmup: see `Measured`; the authors train 41 epochs with `dict(type='RandomMasking', mask_ratio=0.75)`.
    """

    def __init__(
        self,
        mask_ratio: float = 0.45,
        throw_ratio: float = 0.40,
        unit: int = 1,
        throw: str = "middle",
        legacy_crop: bool = False,
        warmup: dict | None = None,
        source: str = "bank",
    ):
        super().__init__(mask_ratio, throw_ratio, unit, throw=throw, warmup=warmup, source=source)
        self.legacy_crop = legacy_crop

    def measure(self, block: BlockView) -> Tensor:
        """Return the attention of the class token to the patches, [B, h, w] in [0, 1]: each head scaled to 0..1, then
        the mean of the heads. A head that attends to all alike counts 0.
        """
        attention = block.class_attention  # [B, K, L]
        attention = attention - attention.amin(-1, keepdim=True)
        largest = attention.amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (attention / largest).mean(1).unflatten(1, block.grid)

    def cropped_maps(self, record: AugRecord, grid: tuple[int, int]) -> Tensor:
        """Return the weights of the patches, [B, h, w] float32; see `Measured.cropped_maps`."""
        if self.legacy_crop:
            return crop_maps_legacy(self.stored_maps(record), record, grid)
        return super().cropped_maps(record, grid)

    def weights(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int]) -> Tensor:
        """Return the mean over the patches of each cell; see `WeightedMasking.weights`."""
        if not self.ready:
            return torch.ones(len(images), cells[0] * cells[1], device=images.device)
        assert record is not None
        patches = self.cropped_maps(record, (cells[0] * self.unit, cells[1] * self.unit))
        return F.avg_pool2d(patches, self.unit).flatten(1)


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
