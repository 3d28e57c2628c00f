"""What every corruption shares: pixels in, pixels out, randomness from the samples' own generator.

A corruption sees pixels; never a model, an epoch or a loss. To write a new one, subclass `Corruption` and register the
class in `CORRUPTIONS`; `tests/pretrain/corruptions/test_contract.py` then checks it.
"""
from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from mimtransfer.draws import SampleGenerator


class Corrupted(NamedTuple):
    """What the encoder is given, and what is left to predict."""

    images: Tensor  # [B, C, H, W] float32, normalised as the input of the method
    kept: Tensor | None  # [B, H, W//2+1] bool, bins of `rfft2` that the encoder was given; None: all are predicted


class Corruption(ABC):
    """Take something from images that a method restores. Without state or parameters, on the device of the images."""

    @abstractmethod
    def __call__(self, images: Tensor, generator: SampleGenerator) -> tuple[Tensor, Tensor | None]:
        """Corrupt a batch; each sample is treated as if it were alone.

        Args:
            images: [B, C, H, W] float32 in [0, 1]; autocast is off.
            generator: the only source of randomness.

        Returns:
            The corrupted images, [B, C, H, W] float32 in the same space (where a corruption does not clamp, values
            may leave [0, 1]), and `Corrupted.kept`.
        """
