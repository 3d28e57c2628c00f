"""Frequency masking: Xie et al., "Masked Frequency Modeling for Self-Supervised Visual Pre-Training", ICLR 2023,
arXiv 2206.07706, sec. 3.2.
"""
import math

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS
from pretrain.corruptions.base import Corruption


@CORRUPTIONS.register_module()
class FrequencyMasking(Corruption):
    """Keep the frequencies in a disc around the zero frequency (low-pass), or all others (high-pass), drawn for each
    sample.

    A high-pass takes the mean colour away, so about half of the values turn negative. The released code clamps them to
    0, which brings the removed frequencies back in part: `clamp=False` is the filter of the paper.

    Args:
        radius: of the disc, in cycles per image; a frequency (v, u) is inside if v^2 + u^2 < radius^2. Published: 16 of
            at most 112.
        low_pass_ratio: probability of a low-pass, in [0, 1]. Published: 0.5, for ResNet-50 0.3.
        clamp: clamp the filtered images to [0, 1].

    Raises:
        UserError: settings out of range, or a radius of more than half the image.
    """

    def __init__(self, radius: float = 16, low_pass_ratio: float = 0.5, clamp: bool = True):
        if radius < 1:
            raise UserError(
                f"FrequencyMasking: got radius={radius}; expected 1 or more cycles, else no frequency is inside it"
            )
        if not 0 <= low_pass_ratio <= 1:
            raise UserError(f"FrequencyMasking: got low_pass_ratio={low_pass_ratio}; expected a probability, 0 to 1")
        self.radius, self.low_pass_ratio, self.clamp = radius, low_pass_ratio, clamp

    def __call__(self, images: Tensor, generator: SampleGenerator) -> tuple[Tensor, Tensor]:
        """Filter a batch; see `Corruption.__call__`."""
        height, width = images.shape[-2:]
        if self.radius > min(height, width) / 2:
            raise UserError(
                f"FrequencyMasking: got radius={self.radius} and images of {height} x {width} pixels; expected at most "
                f"half the shorter side, {min(height, width) / 2:g}"
            )
        low_pass = generator.uniform(1, 1) < self.low_pass_ratio  # [B, 1, 1]
        disc = low_frequencies(height, width, self.radius, images.device)  # [H, W//2+1]
        # Few columns of the spectrum meet the disc; a high-pass is what a low-pass leaves.
        columns = math.ceil(self.radius)
        spectrum = torch.fft.fft(torch.fft.rfft(images)[..., :columns], dim=-2).mul_(disc[:, :columns])
        low = torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=width)  # fills up with zeros
        sign, rest = torch.where(low_pass, 1.0, -1.0), (~low_pass).to(images.dtype)
        filtered = low.mul_(sign[:, None]).addcmul_(images, rest[:, None])
        return filtered.clamp_(0, 1) if self.clamp else filtered, disc == low_pass


def low_frequencies(height: int, width: int, radius: float, device: torch.device | str = "cpu") -> Tensor:
    """Return which bins of `rfft2` lie in the disc: [H, W//2+1] bool."""
    rows = torch.arange(height, device=device)
    rows = torch.minimum(rows, height - rows)  # |v|: bins beyond the middle are the negative frequencies
    columns = torch.arange(width // 2 + 1, device=device)
    # Whole numbers on both sides: with a float, torch compares in float32.
    return rows[:, None] ** 2 + columns**2 < math.ceil(radius**2)
