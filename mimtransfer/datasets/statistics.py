"""Mean and std of the channels of many images, in one pass, and the file in which a config names them."""
from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mimtransfer.checkpoints.channels import MOST
from mimtransfer.datasets.bands import DTYPES, check_finite, read_bands
from mimtransfer.datasets.sources.base import Source
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import UnreadableImage
from mimtransfer.errors import UserError
from mimtransfer.stored import read_object

_NUMBERS = ("mean", "std", "min", "max")
_FIX = "write it anew by tools/dataset_stats.py"


@dataclass
class Statistics:
    """What is known of the pixels of a data set; a list has one number for each channel, in the units of the files."""

    dtype: str  # of the pixels
    images: int
    pixels: int  # of each channel
    mean: list[float]
    std: list[float]  # of all pixels, divided by their number and not by one less; above 0
    min: list[float]
    max: list[float]

    @property
    def in_chans(self) -> int:
        return len(self.mean)

    @property
    def value_range(self) -> tuple[list[float], list[float]]:
        """Return what counts as black and as white in each channel: 0 and 255, or the least and the greatest value."""
        if self.dtype == "uint8":
            return [0.0] * self.in_chans, [255.0] * self.in_chans
        return self.min, self.max

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class RunningMoments:
    """Moments of images that come one by one, in float64.

    Each image is measured about its own mean and then merged (Chan, Golub and LeVeque 1979), so no sum of squares loses
    the small differences of large values.

    Attributes:
        pixels: seen so far, of each channel.
    """

    def __init__(self) -> None:
        self.pixels = 0
        self.dtype = ""
        self.mean = self.squares = self.low = self.high = np.zeros(0)

    def add(self, pixels: np.ndarray) -> None:
        """Take an image in.

        Args:
            pixels: [H, W, C] of numbers; C and dtype as those before.
        """
        count = pixels.shape[0] * pixels.shape[1]
        values = pixels.reshape(count, -1).astype(np.float64)
        mean = values.mean(0)
        low, high = values.min(0), values.max(0)
        values -= mean
        squares = np.einsum("nc,nc->c", values, values)
        if not self.pixels:
            self.pixels, self.dtype = count, pixels.dtype.name
            self.mean, self.squares, self.low, self.high = mean, squares, low, high
            return
        total, apart = self.pixels + count, mean - self.mean
        self.squares = self.squares + squares + apart**2 * (self.pixels * count / total)
        self.mean = self.mean + apart * (count / total)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.pixels = total

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self.squares / self.pixels)


def measure(
    source: Source, in_chans: int | None = None, max_corrupt: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Statistics, list[str]]:
    """Measure all images of a source, each read once.

    Args:
        in_chans: channels of the images; None: those of the first.
        max_corrupt: so many unreadable images are left out.
        progress: called with the images read and all of them.

    Returns:
        The statistics, and a line for each image that was left out.

    Raises:
        UserError: more images cannot be read, or are of another number of channels or another dtype than the first; or
            a channel has the same value everywhere.
    """
    moments, left_out = RunningMoments(), []
    for number in range(len(source)):
        try:
            pixels = read_bands(source.read(number), in_chans)
            check_finite(pixels)
            if moments.pixels and pixels.dtype.name != moments.dtype:
                raise UnreadableImage(f"pixels of {pixels.dtype}, those before were {moments.dtype}")
        except UnreadableImage as error:
            left_out.append(f"{printable(source.name(number))} ({error})")
            if len(left_out) > max_corrupt:
                raise UserError(f"more than {max_corrupt} images cannot be read, the last is {left_out[-1]}; repair or "
                                "remove them, or raise --max-corrupt") from error
            continue
        in_chans = pixels.shape[2]
        moments.add(pixels)
        if progress is not None:
            progress(number + 1, len(source))
    if not moments.pixels:
        raise UserError(f"none of {len(source)} images can be read, the first is {left_out[0]}; give other images")
    found = Statistics(
        moments.dtype, len(source) - len(left_out), moments.pixels,
        *(values.tolist() for values in (moments.mean, moments.std, moments.low, moments.high)),
    )
    for channel, (low, high) in enumerate(zip(found.min, found.max)):
        if low == high:
            raise UserError(f"channel {channel} is {low:g} everywhere, so its std is 0; leave it out of the images")
    return found, left_out


def read_statistics(path: str | os.PathLike) -> Statistics:
    """Read a file of `tools/dataset_stats.py`, as data that anyone may have written.

    Raises:
        UserError: there is no such file, or it holds anything but such statistics.
    """
    fields = dict(dtype=str, images=int, pixels=int, mean=list, std=list, min=list, max=list)
    value = read_object(path, fields, _FIX)
    for problem in _problems(value):
        raise UserError(f"{path}: {problem}; {_FIX}")
    numbers = ([float(number) for number in value[name]] for name in _NUMBERS)
    return Statistics(value["dtype"], value["images"], value["pixels"], *numbers)


def _problems(value: Mapping[str, Any]) -> Iterator[str]:
    if value["dtype"] not in DTYPES:
        yield f"dtype is {value['dtype'][:40]!r}, expected {', '.join(DTYPES)}"
    channels = len(value["mean"])
    for name in _NUMBERS:
        if len(value[name]) != channels or not 1 <= channels <= MOST:
            yield f"{name} has {len(value[name])} values, expected as many as mean, 1 to {MOST}"
        if not all(type(number) in (int, float) and math.isfinite(number) for number in value[name]):
            yield f"{name} is {repr(value[name])[:80]}, expected finite numbers"
    if value["images"] < 1 or value["pixels"] < value["images"]:
        yield f"it is of {value['pixels']} pixels in {value['images']} images, expected 1 or more"
    for mean, std, low, high in zip(*(value[name] for name in _NUMBERS)):
        if not (std > 0 and low < high):
            yield f"a channel has mean {mean}, std {std}, min {low} and max {high}, expected std > 0 and min < max"
