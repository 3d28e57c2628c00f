"""Defocus, glass, motion and zoom blur. Images are [B, 3, H, W] float in [0, 1]."""
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.evaluation.robustness.common_corruptions.resampling import (
    gaussian_blur,
    motion,
    pick,
    zoom,
    zoom_factors,
)


def defocus_blur(x: Tensor, generator: SampleGenerator, radius: float, smoothing: float) -> Tensor:
    """Average over a disk whose edge is smoothed by a Gaussian of 3 x 3 pixels (5 x 5 for a radius above 8)."""
    kernel = disk(radius, smoothing).to(x.device)
    half = kernel.shape[-1] // 2
    planes = F.pad(x, (half, half, half, half), mode="reflect").flatten(0, 1)[:, None]
    return F.conv2d(planes, kernel[None, None]).view_as(x)


def disk(radius: float, smoothing: float) -> Tensor:
    """Return the disk's kernel [k, k] float32 of sum 1.

    Disk and smoothing are computed on 17 x 17 pixels, 2 * radius + 1 for a radius above 8; what is 0 is left out.
    """
    half = 8 if radius <= 8 else int(radius)
    place = torch.arange(-half, half + 1, dtype=torch.float64)
    inside = (place[:, None] ** 2 + place**2 <= radius**2).double()
    edge = 1 if radius <= 8 else 2
    weights = torch.softmax(-0.5 * (torch.arange(-edge, edge + 1).double() / smoothing) ** 2, dim=0)
    padded = F.pad(inside[None, None] / inside.sum(), (edge,) * 4, mode="reflect")
    kernel = F.conv2d(padded, (weights[:, None] * weights)[None, None])[0, 0].float()
    empty = int((kernel.sum(0) == 0).sum()) // 2
    return kernel[empty : len(kernel) - empty, empty : len(kernel) - empty]


def glass_blur(x: Tensor, generator: SampleGenerator, sigma: float, reach: int, rounds: int) -> Tensor:
    """Blur, replace each pixel by one nearby, several times over, and blur again.

    In the code behind the published files the pixels go one after the other from the lower right, and what looks like a
    swap copies: both places of numpy's views end with the neighbour's colour. So a pixel takes its neighbour's colour
    as it is then, new if the neighbour has had its turn. Following these references to their end takes a logarithmic
    number of steps for all pixels at once.
    """
    x = ((gaussian_blur(x, sigma) * 255) + 1e-3).floor() / 255
    height, width = x.shape[-2:]
    rows, columns = torch.meshgrid(*(torch.arange(n, device=x.device) for n in (height, width)), indexing="ij")
    turn = (rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)
    place = rows * width + columns
    for _ in range(rounds):
        right, down = (generator.integers(-reach, reach - 1, height, width) for _ in range(2))
        target = torch.where(turn, place + down * width + right, place).flatten(1)  # [B, H * W]
        had_turn = turn.flatten()[target] & (target > place.flatten())
        # Numbers below H * W stand for new colours, those above for old ones, where references end.
        size = height * width
        refer = torch.cat([torch.where(had_turn, target, target + size), target.new_zeros(len(x), size)], dim=1)
        refer[:, size:] = torch.arange(size, 2 * size, device=x.device)
        while bool((refer[:, :size] < size).any()):
            refer = refer.gather(1, refer)
        source = (refer[:, :size] - size).view(-1, height, width)
        x = pick(x, source // width, source % width)
    return gaussian_blur(x, sigma)


def motion_blur(x: Tensor, generator: SampleGenerator, radius: int, sigma: float) -> Tensor:
    """Smear in a direction within 45 degrees of the horizontal; rounded to 8 bits as ImageMagick does."""
    angle = 90 * generator.uniform() - 45
    return (motion(x, radius, sigma, angle) * 255).round() / 255


def zoom_blur(x: Tensor, generator: SampleGenerator, stop: float, step: float) -> Tensor:
    """Average the image and its enlargements by 1, 1 + step ... below stop."""
    factors = zoom_factors(stop, step)
    return (x + sum(zoom(x, factor) for factor in factors)) / (len(factors) + 1)
