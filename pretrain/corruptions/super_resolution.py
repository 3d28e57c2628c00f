"""Super-resolution, a sibling of frequency masking (MFM, arXiv 2206.07706, sec. 3.4)."""
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS
from pretrain.corruptions.base import Corruption


@CORRUPTIONS.register_module()
class SuperResolution(Corruption):
    """Make images small and large again, both bicubic and clamped to [0, 1].

    Args:
        factor: how many times smaller in height and width.
        antialias: filter before the images are made small. The released code does not: it reads 4 x 4 pixels for each
            new one, and finer patterns come back as coarse ones.

    Raises:
        UserError: a factor below 2, or images that the factor does not divide.
    """

    def __init__(self, factor: int = 8, antialias: bool = False):
        if factor < 2:
            raise UserError(f"SuperResolution: got factor={factor}; expected an integer, 2 or more")
        self.factor, self.antialias = factor, antialias

    def __call__(self, images: Tensor, generator: SampleGenerator) -> tuple[Tensor, None]:
        """Blur a batch by resizing; see `Corruption.__call__`."""
        height, width = images.shape[-2:]
        if height % self.factor or width % self.factor:
            raise UserError(
                f"SuperResolution: got images of {height} x {width} pixels and factor={self.factor}; expected a "
                "multiple of the factor: change the crop size or the factor"
            )
        size = (height // self.factor, width // self.factor)
        small = F.interpolate(images, size=size, mode="bicubic", antialias=self.antialias).clamp(0, 1)
        return F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1), None
