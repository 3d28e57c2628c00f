"""Random numbers that belong to samples: the same for any number of workers, ranks, restarts, and on any device.

A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the SplitMix64
finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) as its mixing function:
number k of sample b is a hash of (seed_b, k). A `torch.Generator` has one stream for a batch, so what a sample gets
would depend on where in which rank's batch it lands.
"""
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    # int64 >> is arithmetic; the mask makes it logical.
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix(z: Tensor) -> Tensor:
    """Hash int64 numbers to int64 numbers (SplitMix64 finaliser, a bijection). z: any shape, int64."""
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _wrapped(number: int) -> int:
    """Return the int64 that a product of int64 would have overflowed to."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


class SampleGenerator:
    """Draw random tensors with one independent stream for each sample.

    Args:
        seed: [B] int64, one for each sample (`AugRecord.seed`). Equal seeds give equal draws, on any device.
    """

    def __init__(self, seed: Tensor):
        self.seed = seed
        self.calls = 0  # each call draws from a fresh stream

    @classmethod
    def from_seed(cls, seed: int, batch: int, device: torch.device | str = "cpu") -> "SampleGenerator":
        """Make one for a batch without records (pictures, benchmarks, tests): sample b has seed `seed + b`, hashed."""
        return cls(mix(torch.arange(batch, device=device, dtype=torch.int64) + seed))

    def spread(self, count: int) -> "SampleGenerator":
        """Return a generator of `count` streams for each sample, row b * count + k; row 0 of each keeps the seed.

        The seeds of the others are numbers 1 .. count - 1 of the sample's stream 0, from which nothing else is drawn.
        """
        if count == 1:
            return SampleGenerator(self.seed)
        others = torch.arange(1, count, device=self.seed.device, dtype=torch.int64) * _GOLDEN
        return SampleGenerator(torch.cat([self.seed[:, None], mix(mix(self.seed)[:, None] + others)], 1).flatten())

    def fork(self, number: int) -> "SampleGenerator":
        """Return an independent generator for another purpose of the same samples, one for each `number` > 0; what
        this one has drawn does not matter.
        """
        return SampleGenerator(mix(mix(self.seed) + _wrapped(number * _MIX_1)))

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        self.calls += 1
        stream = mix(self.seed + _wrapped(self.calls * _GOLDEN))  # [B]
        count = torch.arange(1, math.prod(shape) + 1, device=self.seed.device, dtype=torch.int64)
        return mix(stream[:, None] + count * _GOLDEN).view(-1, *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Draw from the open interval (0, 1): [B, *shape] float32, multiples of 2^-24."""
        # 23 bits and a half: exact in float32, and neither 0 nor 1, so logarithms are finite.
        return (_shift(self._bits(shape), 41).float() + 0.5) * 2.0**-23

    def exponential(self, *shape: int) -> Tensor:
        """Draw from the exponential distribution with mean 1: [B, *shape] float32, > 0."""
        return -self.uniform(*shape).log()

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal distribution (Box-Muller): [B, *shape] float32."""
        return (2 * self.exponential(*shape)).sqrt() * (2 * math.pi * self.uniform(*shape)).cos()

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw integers from low to high, both included: [B, *shape] int64."""
        # 32 bits against a range of some thousand: the bias of the remainder is below 1e-6.
        return low + _shift(self._bits(shape), 32) % (high - low + 1)


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the random states of python, numpy and torch, on the CPU and the device in use, back at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []  # of all it would warn
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
