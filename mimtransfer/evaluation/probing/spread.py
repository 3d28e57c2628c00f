"""How far features spread, without labels: RankMe (Garrido et al., ICML 2023, arXiv 2210.02885, eq. 2) and contrast."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

# Variance as a share of the mean square, below which features count as constant. Among the encoders of
# docs/results/study.md MFM's, from which nothing could be learned, had 0.0003 over images, the next lowest 0.006.
COLLAPSED = 1e-3


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """Return exp of the entropy of the singular values, each divided by their sum: from 1, all vectors are parallel, to
    min(N, D), all directions are used alike.

    It does not depend on the scale of the features; it does on their number, so compare equal numbers.

    Args:
        features: [N, D], not centred; all 0 gives 0.
        eps: is added to each share, as published.
    """
    values = torch.linalg.svdvals(features.detach().double().cpu())
    if values[0] == 0:
        return 0.0
    shares = values / values.sum() + eps
    return math.exp(-float((shares * shares.log()).sum()))


class Contrast(NamedTuple):
    """Variance of the tokens, each summed over the channels, as shares of their mean square: 0 to 1, of any scale.

    Attributes:
        images: over images at the same patch, mean over the patches.
        patches: over the patches of an image, mean over the images; None for maps of one patch.
    """

    images: float
    patches: float | None

    @property
    def collapsed(self) -> dict[str, float]:
        """Return what the tokens are nearly constant over, `images`, `patches`, with the variance; empty: neither."""
        return {name: value for name, value in self._asdict().items() if value is not None and value < COLLAPSED}


def contrast(maps: Tensor) -> Contrast:
    """Return the contrast of maps [N, D, h, w] of N images; 0 where all tokens are 0."""
    tokens = maps.detach().float().flatten(2)
    square = float(tokens.square().sum(1).mean()) or 1.0
    images = float(tokens.var(0, correction=0).sum(0).mean()) / square
    patches = float(tokens.var(2, correction=0).sum(1).mean()) / square
    return Contrast(images, patches if tokens.shape[2] > 1 else None)
