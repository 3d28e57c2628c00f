"""Snow, frost and fog. Images are [B, 3, H, W] float in [0, 1]."""
import math
import os
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.evaluation.robustness.common_corruptions.resampling import gaussian_blur, motion, zoom

_GREY = (0.299, 0.587, 0.114)


def snow(
    x: Tensor, generator: SampleGenerator, mean: float, std: float, size: float, least: float, radius: int,
    sigma: float, share: float
) -> Tensor:
    """Whiten the image and let flakes fall: noise, enlarged, cut below a threshold, smeared downwards.

    Args:
        x: images.
        generator: of the flakes and their direction.
        mean, std: of the noise.
        size: of a flake, in pixels.
        least: what is darker is no flake.
        radius, sigma: of the smear, in pixels.
        share: of the image that is not whitened.
    """
    flakes = zoom((mean + std * generator.normal(*x.shape[-2:]))[:, None], size)
    flakes = torch.where(flakes < least, 0.0, flakes).clamp(0, 1)
    flakes = (flakes * 255 + 1e-3).floor() / 255
    flakes = (motion(flakes, radius, sigma, -135 + 90 * generator.uniform()) * 255).round() / 255
    grey = (x * x.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    x = share * x + (1 - share) * torch.maximum(x, grey * 1.5 + 0.5)
    return x + flakes + flakes.flip(2, 3)


def fog(x: Tensor, generator: SampleGenerator, amount: float, decay: float) -> Tensor:
    """Add a cloud, and darken so that the brightest value stays."""
    height, width = x.shape[-2:]
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    cloud = plasma(generator, 2 ** math.ceil(math.log2(max(height, width))), decay)[:, None, :height, :width]
    return (x + amount * cloud) * brightest / (brightest + amount)


def plasma(generator: SampleGenerator, size: int, decay: float) -> Tensor:
    """Return clouds [B, size, size] in [0, 1] by the diamond-square algorithm on a torus.

    Midpoints of squares, then of their sides, get the mean of their four neighbours and a random number, at each finer
    step smaller.

    Args:
        generator: of the clouds.
        size: a power of two.
        decay: factor between the square roots of the amplitudes of one step and the next.
    """
    cloud = torch.zeros(len(generator.seed), size, size, device=generator.seed.device)
    step, amplitude = size, 100.0

    def midpoints(total: Tensor) -> Tensor:
        return total / 4 + amplitude**2 * (2 * generator.uniform(*total.shape[1:]) - 1)

    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        cloud[:, half::step, half::step] = midpoints(pairs + pairs.roll(-1, 2))
        centres = cloud[:, half::step, half::step]
        cloud[:, ::step, half::step] = midpoints(centres + centres.roll(1, 1) + corners + corners.roll(-1, 2))
        cloud[:, half::step, ::step] = midpoints(centres + centres.roll(1, 2) + corners + corners.roll(-1, 1))
        step, amplitude = half, amplitude / decay
    cloud = cloud - cloud.amin(dim=(1, 2), keepdim=True)
    return cloud / cloud.amax(dim=(1, 2), keepdim=True)


def frost(
    x: Tensor, generator: SampleGenerator, image_share: float, frost_share: float, scale: float,
    pictures: Sequence[Tensor]
) -> Tensor:
    """Add a cut-out of a picture of frost.

    Args:
        x: images.
        generator: of the picture and the place.
        image_share, frost_share: weights of both.
        scale: of the pictures; larger where they would be smaller than the images.
        pictures: each [3, h, w] uint8.
    """
    height, width = x.shape[-2:]
    scaled = [_scaled(picture.to(x.device), scale, height, width) for picture in pictures]
    draws = generator.uniform(3).tolist()
    cuts = []
    for which, down, right in draws:
        picture = scaled[int(which * len(scaled))]
        top, left = int(down * (picture.shape[1] - height)), int(right * (picture.shape[2] - width))
        cuts.append(picture[:, top : top + height, left : left + width])
    return image_share * x + frost_share * torch.stack(cuts)


def _scaled(picture: Tensor, scale: float, height: int, width: int) -> Tensor:
    scale = max(scale, (height + 1) / picture.shape[1], (width + 1) / picture.shape[2])
    size = [max(least, round(side * scale)) for side, least in zip(picture.shape[1:], (height, width))]
    return F.interpolate(picture[None].float(), size=size, mode="bilinear", align_corners=False)[0].round() / 255


def read_frost(folder: str) -> list[Tensor]:
    """Read the pictures of frost from a folder, the first five by name, as the published files use.

    Raises:
        UserError: no such folder, or no picture in it.
    """
    folder = os.path.expanduser(folder)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    names = sorted(name for name in names if name.lower().endswith((".png", ".jpg", ".jpeg")))
    if not names:
        raise UserError(f"frost_pictures: no .png or .jpg in {folder!r}; put the pictures of frost there "
                        "(docs/robustness.md), or leave it out: frost is then drawn")
    return [pil_to_tensor(Image.open(os.path.join(folder, name)).convert("RGB")) for name in names[:5]]


@lru_cache(maxsize=1)
def drawn_frost(number: int = 5, size: int = 448) -> tuple[Tensor, ...]:
    """Draw pictures of frost [3, size, size] uint8: clouds, and needles of ice in all directions, in pale blue.

    Their mean and std are those of the photographs behind the published files; their looks are not. The same on
    every machine, up to rounding.
    """
    generator = SampleGenerator.from_seed(2019, number)
    ice = plasma(generator, 512, 2.0)[:, :size, :size]
    for _ in range(6):
        seeds = (generator.uniform(size, size) > 0.998).float()[:, None]
        needles = motion(seeds, 20, 8.0, 360 * generator.uniform())[:, 0]
        ice = ice + 4 * gaussian_blur(needles, 0.7)
    ice = (ice - ice.mean(dim=(1, 2), keepdim=True)) / ice.std(dim=(1, 2), keepdim=True)
    light = torch.tensor([78.0, 201.0, 201.0, 138.0, 112.0]).repeat(-(-number // 5))[:number]
    tint = torch.stack([light, light + 12, light + 22], dim=1)  # [number, 3]
    return tuple((tint[:, :, None, None] + 26 * ice[:, None]).clamp(0, 255).byte())
