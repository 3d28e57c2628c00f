"""Noise masking: filtered random noise (Hinojosa, Liu and Ghanem, "ColorMAE: Exploring data-independent masking
strategies in Masked AutoEncoders", ECCV 2024, arXiv 2407.13036).

ColorMAE filters a stack of large noise images once, publishes it as a file for each colour, and in training takes the
same random window and flip out of each of them: image b of a batch always gets noise image b. We filter fresh noise for
each sample: nothing to download, any grid, no pattern that comes back, and a mask that belongs to the sample's seed.
The distribution is the same, that of a window of stationary noise: the noise is drawn with a margin that is cut off
again, since a filter on the grid alone would join its opposite borders. The widths of the authors' filters are not in
their repository; the defaults here are ours. Their code shows the highest values, ours masks them, which is the same
for noise that is symmetric about 0.
"""
import math

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.masking.base import MaskingStrategy

COLORS = ("red", "green", "blue", "purple")


@MASKINGS.register_module()
class NoiseMasking(MaskingStrategy):
    """Mask where filtered noise is highest, throw where it is next highest. Costs no more than random masking.

    Two Gaussian blurs split white noise into three bands that add up to it, sec. 3: red is what the strong blur leaves
    (low-pass: large connected regions), blue what the weak one takes away (high-pass: roles spread evenly), green what
    lies between (band-pass: clusters of one size, the best of the paper). Purple is all but green (band-stop); ours is
    red and blue of equal energy, since a grid has so few low frequencies that white less green looks blue.

    Args:
        color: `green`, `red`, `blue` or `purple`.
        sigma: stds of the weak and the strong blur, in cells.
    """

    def __init__(
        self,
        mask_ratio: float = 0.75,
        throw_ratio: float = 0.0,
        unit: int = 1,
        color: str = "green",
        sigma: tuple[float, float] = (0.75, 2.0),
    ):
        super().__init__(mask_ratio, throw_ratio, unit)
        if color not in COLORS:
            raise UserError(f"NoiseMasking: got color={color!r}; expected one of {', '.join(COLORS)}")
        if not 0 < sigma[0] < sigma[1]:
            raise UserError(f"NoiseMasking: got sigma={sigma}; expected a weak and a stronger blur, 0 < weak < strong")
        self.color, self.sigma = color, sigma

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        cells = self.cells(grid)
        order = self.noise(cells, generator).flatten(1).argsort(1, descending=True)
        _, masked, thrown = self.counts(cells[0] * cells[1])
        return TokenLayout.from_order(order, masked, thrown).repeat(self.unit, grid)

    def noise(self, cells: tuple[int, int], generator: SampleGenerator) -> Tensor:
        """Draw filtered noise, [B, h, w] float32, normal with mean 0."""
        # Filtered values have a correlation of exp(-d^2 / 4 sigma^2): 0.02 at the margin, 4 sigma.
        h, w = (side + math.ceil(4 * self.sigma[1]) for side in cells)
        white = generator.normal(h, w)
        vertical, horizontal = (torch.fft.fftfreq(side, device=white.device) for side in (h, w))  # cycles in a cell
        weak, strong = (
            # The Fourier transform of a Gaussian is a Gaussian: real and symmetric, so the noise stays real.
            torch.exp(-2 * (math.pi * sigma) ** 2 * (vertical[:, None] ** 2 + horizontal**2)) for sigma in self.sigma
        )
        high = 1 - weak
        purple = strong / strong.norm() + high / high.norm()
        transfer = {"red": strong, "green": weak - strong, "blue": high, "purple": purple}[self.color]
        return torch.fft.ifft2(torch.fft.fft2(white) * transfer).real[:, : cells[0], : cells[1]]
