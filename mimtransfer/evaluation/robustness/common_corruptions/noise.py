"""Gaussian, shot and impulse noise. Images are [B, 3, H, W] float in [0, 1]; what leaves that range is cut later."""
import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator


def gaussian_noise(x: Tensor, generator: SampleGenerator, std: float) -> Tensor:
    """Add a normal deviate to each value."""
    return x + std * generator.normal(*x.shape[1:])


def shot_noise(x: Tensor, generator: SampleGenerator, photons: float) -> Tensor:
    """Count photons: Poisson numbers whose mean is `photons` times the value."""
    return poisson(x, photons, generator.uniform(*x.shape[1:])) / photons


def impulse_noise(x: Tensor, generator: SampleGenerator, share: float) -> Tensor:
    """Set a share of the values to 0 or 1, each with equal chance."""
    u = generator.uniform(*x.shape[1:])
    return torch.where(u < share, (u < share / 2).float(), x)


def poisson(x: Tensor, photons: float, u: Tensor) -> Tensor:
    """Turn uniform numbers into Poisson numbers, exactly, by the inverse distribution function.

    An 8-bit value has 256 means, so there are 256 distribution functions. One behind the other, the v-th raised by v,
    they are one ascending sequence, and all pixels are one search in it.

    Args:
        x: multiples of 1 / 255 in [0, 1].
        photons: mean of value 1.
        u: of the shape of x, in (0, 1).
    """
    mean = torch.arange(256, device=x.device).double()[:, None] / 255 * photons
    count = torch.arange(int(photons + 12 * photons**0.5) + 12, device=x.device).double()
    log_probability = torch.xlogy(count, mean) - mean - torch.lgamma(count + 1)
    # Below 1, so that no function ends at or above where the next begins: 1 - 1e-12 is never drawn by 24 bits.
    below = log_probability.exp().cumsum(1).clamp_max(1 - 1e-12)
    value = (x * 255).round().long()
    ascending = (below + torch.arange(256, device=x.device)[:, None]).flatten()
    place = torch.searchsorted(ascending, (value + u.double()).contiguous())
    return (place - value * len(count)).float()
