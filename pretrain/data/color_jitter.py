"""Random brightness, contrast and saturation, as torchvision's ColorJitter and so as timm's `color_jitter`."""
from random import Random

import torchvision.transforms.v2.functional as F
from torch import Tensor

_CHANGES = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)


def jitter_colors(pixels: Tensor, strength: float, rng: Random) -> Tensor:
    """Change brightness, contrast and saturation, in random order, each by a factor uniform in 1 - strength ... 1 +
    strength, at least 0.

    Args:
        pixels: [3, H, W] uint8 RGB.
        strength: >= 0.
        rng: drawn from six times.
    """
    factors = [max(0.0, 1 - strength) + (1 + strength - max(0.0, 1 - strength)) * rng.random() for _ in _CHANGES]
    # Python promises only `random()` to draw the same in later versions, not `shuffle`.
    for _, change, factor in sorted(zip([rng.random() for _ in _CHANGES], range(3), factors)):
        pixels = _CHANGES[change](pixels, factor)
    return pixels
