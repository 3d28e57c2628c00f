"""Denoising, a sibling of frequency masking (MFM, arXiv 2206.07706, sec. 3.4): Gaussian or Poisson noise on the image.

Poisson noise is that of counting: with levels q of 8 bits and N = 2^ceil(log2 of how many different levels an image
has), a pixel becomes x + scale (K/N - q), where K is Poisson of mean N q; its variance is scale^2 q / N.
"""
import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS
from pretrain.corruptions.base import Corruption

_KINDS = ("gaussian", "poisson")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's grey
_MOST = 512  # no count of mean 256 gets there: beyond 448, its probability is below 1e-24
Range = tuple[float, float]


@CORRUPTIONS.register_module()
class Noise(Corruption):
    """Add noise to each image, of an amount of its own.

    The defaults are the released denoising configs. The released code's general setting, which none of them uses:
    kinds=dict(gaussian=0.5, poisson=0.5), gaussian_sigma=(1, 30), gaussian_grey=0.4.

    Args:
        kinds: kind of noise (gaussian, poisson) -> weight in the draw; Gaussian when not given.
        gaussian_sigma: range of the std, in grey levels of 0..255.
        gaussian_grey, poisson_grey: probability that all channels get the same noise; Poisson noise is then that of
            the image in grey.
        poisson_scale: range of the factor of Poisson noise.
        clamp: clamp the noisy images to [0, 1]; the released code does not.

    Raises:
        UserError: unknown kinds, ranges or probabilities that make no noise.
    """

    def __init__(
        self,
        kinds: Mapping[str, float] | None = None,
        gaussian_sigma: Range = (75.0, 75.0),
        gaussian_grey: float = 0.0,
        poisson_scale: Range = (0.05, 3.0),
        poisson_grey: float = 0.4,
        clamp: bool = False,
    ):
        kinds = {"gaussian": 1.0} if kinds is None else dict(kinds)
        if set(kinds) - set(_KINDS) or not kinds or min(kinds.values()) < 0 or sum(kinds.values()) <= 0:
            raise UserError(f"Noise: got kinds={kinds}; expected weights of gaussian and poisson")
        for name, (low, high) in dict(gaussian_sigma=gaussian_sigma, poisson_scale=poisson_scale).items():
            if not 0 <= low <= high:
                raise UserError(f"Noise: got {name}={(low, high)}; expected a range of numbers from 0 on")
        for name, share in dict(gaussian_grey=gaussian_grey, poisson_grey=poisson_grey).items():
            if not 0 <= share <= 1:
                raise UserError(f"Noise: got {name}={share}; expected a probability, 0 to 1")
        self.gaussian_share = kinds.get("gaussian", 0) / sum(kinds.values())
        self.gaussian_sigma, self.gaussian_grey = gaussian_sigma, gaussian_grey
        self.poisson_scale, self.poisson_grey = poisson_scale, poisson_grey
        self.clamp = clamp

    def __call__(self, images: Tensor, generator: SampleGenerator) -> tuple[Tensor, None]:
        """Add noise to a batch; see `Corruption.__call__`."""
        kind, amount, grey = generator.uniform(3, 1, 1, 1).unbind(1)  # [B, 1, 1, 1] each
        noise, is_gaussian = torch.zeros_like(images), kind < self.gaussian_share
        if self.gaussian_share > 0:
            drawn = _same_channels(generator.normal(*images.shape[1:]), grey < self.gaussian_grey)
            noise = torch.where(is_gaussian, _between(self.gaussian_sigma, amount) / 255 * drawn, noise)
        if self.gaussian_share < 1:
            is_grey = grey < self.poisson_grey
            level, number = count_levels(torch.where(is_grey, _luma(images), images))
            count = draw_poisson(level, number, _same_channels(generator.uniform(*images.shape[1:]), is_grey))
            drawn = poisson_noise(level, number, count)
            noise = torch.where(is_gaussian, noise, _between(self.poisson_scale, amount) * drawn)
        noisy = images + noise
        return (noisy.clamp(0, 1) if self.clamp else noisy), None


def count_levels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return levels 0..255 [B, C, H, W] int64, and for each image how many there are, rounded up to a power of two,
    [B, 1, 1, 1] int64.
    """
    level = (images * 255).round().clamp(0, 255).long()
    present = torch.zeros(len(images), 256, device=images.device).scatter_(1, level.flatten(1), 1.0)
    exponent = present.sum(1).log2().ceil().long()
    return level, (2**exponent).view(-1, 1, 1, 1)


def draw_poisson(level: Tensor, number: Tensor, uniform: Tensor) -> Tensor:
    """Draw Poisson counts of mean number * level / 255 by inverting their distribution: the smallest count whose
    distribution function reaches the uniform number.

    Exact to the 2^-24 of `SampleGenerator.uniform`, and no approximation by a Gaussian: at a mean of 1, that would
    have no skew and negative counts.

    Args:
        level, number: of `count_levels`.
        uniform: in (0, 1), of the shape of `level`.

    Returns:
        int64 of the shape of `level`.
    """
    row = number.log2().round().long() * 256 + level
    # All rows in one ascending sequence: the distribution function of row r, plus r.
    return torch.searchsorted(_distributions(uniform.device), row + uniform.double()) - row * _MOST


def poisson_noise(level: Tensor, number: Tensor, count: Tensor) -> Tensor:
    """Return the relative error of counts, K/N - q, float32."""
    return count / number - level / 255


@functools.cache
def _distributions(device: torch.device) -> Tensor:
    """Return P(K <= k) + r of each mean 2^e * level / 255 with r = 256 e + level and k < 512, flat, float64."""
    level, k = torch.arange(256, dtype=torch.float64), torch.arange(_MOST, dtype=torch.float64)
    mean = (2.0 ** torch.arange(9, dtype=torch.float64)[:, None] * level / 255).view(-1, 1)
    function = (torch.xlogy(k, mean) - mean - torch.lgamma(k + 1)).exp().cumsum(1).clamp_max(1)
    function[:, -1] = 1
    return (function + torch.arange(len(mean))[:, None]).flatten().to(device)


def _luma(images: Tensor) -> Tensor:
    parts = [images[:, channel : channel + 1] * weight for channel, weight in enumerate(_LUMA)]
    return torch.cat(parts, dim=1).sum(1, keepdim=True).expand_as(images)


def _same_channels(drawn: Tensor, is_same: Tensor) -> Tensor:
    """Give all channels of some samples the numbers of the first."""
    return torch.where(is_same, drawn[:, :1], drawn)


def _between(bounds: Range, draw: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * draw
