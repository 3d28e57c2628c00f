"""The order in which patches are drawn; the generator of each sample is mimtransfer/draws.py."""
import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator, mix

__all__ = ["SampleGenerator", "mix", "sample_order"]


def sample_order(weights: Tensor, generator: SampleGenerator) -> Tensor:
    """Draw all patches one after the other without replacement, each with probability in proportion to its weight.

    Sorting Exp(1) / w ascending is such a draw (Efraimidis and Spirakis, 2006); in logarithms it is defined at weight 0
    as well: those come last, in random order.

    Args:
        weights: [B, L] float, >= 0, any scale.

    Returns:
        [B, L] int64, patch indices, first drawn first.
    """
    weights = weights.float()
    # The logarithm of a positive float32 is above -104, so -256 is below every drawable weight.
    log_weights = torch.where(weights > 0, weights.clamp_min(torch.finfo(torch.float32).tiny).log(), -256.0)
    return (generator.exponential(weights.shape[1]).log() - log_weights).argsort(1)
