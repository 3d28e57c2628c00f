"""Crop, resize, flip, jitter: from a stored image to a uint8 tensor, with the crop box that was really shown.

A transform is called with a stored image and a `random.Random` and draws from nothing else. It returns pixels
[3, H, W] uint8 RGB (of a `BandsImage` [C, H, W] uint8 or float32), the box (y0, x0, y1, x1 as fractions of the full
image) and whether it flipped.
"""
import copy
import math
from collections.abc import Callable
from random import Random

import torchvision.transforms.v2.functional as F
from PIL import Image
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.registry import TRANSFORMS
from pretrain.data.decoding import BandsImage, StoredImage
from pretrain.data.on_device import Canvas, Unresized

Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels
Opened = StoredImage | BandsImage | Unresized
Shown = tuple[Tensor | Canvas, tuple[float, float, float, float], bool]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class _Resized:
    """What all transforms share: the size of the result and the filter.

    Args:
        size: side of the square result, or (height, width), in pixels.
        interpolation: nearest, box, bilinear, bicubic or lanczos; all but the first with antialiasing.
        color_jitter: strength of random brightness, contrast and saturation after resizing; 0 for none.

    Raises:
        UserError: a value out of its range.
    """

    def __init__(self, size: int | tuple[int, int], interpolation: str = "bicubic", color_jitter: float = 0.0):
        name = type(self).__name__
        sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else ()
        if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
            raise UserError(f"{name}: got size={size!r}, expected a positive int or (height, width)")
        if interpolation not in _FILTERS:
            raise UserError(f"{name}: got interpolation={interpolation!r}, expected one of {', '.join(_FILTERS)}")
        if color_jitter < 0:
            raise UserError(f"{name}: got color_jitter={color_jitter}, expected 0 or more")
        self.size: tuple[int, int] = (sides[0], sides[1])
        self.filter = _FILTERS[interpolation]
        self.color_jitter = color_jitter

    def resized(self, size: tuple[int, int]) -> "_Resized":
        """Return the same transform for results of another size, (height, width); it draws the same boxes."""
        other = copy.copy(self)
        other.size = size
        return other

    def show(self, image: Opened, box: Box, rng: Random, flip: bool = False) -> Shown:
        top, left, bottom, right = box
        shown = image.pixels(box, self.size, self.filter, flip)
        if self.color_jitter and not isinstance(shown, Canvas):
            shown = jitter_colors(shown, self.color_jitter, rng)
        height, width = image.height, image.width
        where = (top / height, left / width, bottom / height, right / width)
        return shown, where, flip


@TRANSFORMS.register_module()
class RandomResizedCropFlip(_Resized):
    """Show a random box of random area and shape, resized, flipped left-right with some probability.

    Boxes are distributed as torchvision's RandomResizedCrop draws them (Szegedy et al. 2015, arXiv:1409.4842, sec. 6).

    Args:
        scale: range of the area of the box, as fractions of the image.
        ratio: range of the width of the box over its height, log-uniform.
        flip: probability.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        flip: float = 0.5,
        color_jitter: float = 0.0,
    ):
        super().__init__(size, interpolation, color_jitter)
        if not _is_range(scale) or scale[1] > 1:
            raise UserError(f"RandomResizedCropFlip: got scale={scale}, expected (low, high) with 0 < low <= high <= 1")
        if not _is_range(ratio):
            raise UserError(f"RandomResizedCropFlip: got ratio={ratio}, expected (low, high) with 0 < low <= high")
        if not 0 <= flip <= 1:
            raise UserError(f"RandomResizedCropFlip: got flip={flip}, expected a probability")
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.flip = flip

    def __call__(self, image: Opened, rng: Random) -> Shown:
        box = self.draw_box(image.height, image.width, rng)
        return self.show(image, box, rng, flip=rng.random() < self.flip)

    def draw_box(self, height: int, width: int, rng: Random) -> Box:
        log_low, log_high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = height * width * _uniform(rng, *self.scale)
            ratio = math.exp(_uniform(rng, log_low, log_high))
            w = round(math.sqrt(area * ratio))
            h = round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = _below(rng, height - h + 1)
                left = _below(rng, width - w + 1)
                return top, left, top + h, left + w
        # No box fits into a long and thin image: the largest in its middle, as square as `ratio` asks.
        h = min(height, max(1, round(width / self.ratio[0])))
        w = min(width, max(1, round(height * self.ratio[1])))
        top, left = (height - h) // 2, (width - w) // 2
        return top, left, top + h, left + w


@TRANSFORMS.register_module()
class ResizeWhole(_Resized):
    """Show the whole image, squashed to the size: its box is (0, 0, 1, 1). For maps of whole images."""

    def __call__(self, image: Opened, rng: Random) -> Shown:
        return self.show(image, (0, 0, image.height, image.width), rng)


@TRANSFORMS.register_module()
class CenterCrop(_Resized):
    """Show the middle of the image without distortion: the usual way to evaluate.

    Args:
        ratio: side of the box over that of the largest box of this shape that fits; 0.875 is resizing the short side to
            256 and cropping 224.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        ratio: float = 0.875,
        interpolation: str = "bicubic",
        color_jitter: float = 0.0,
    ):
        super().__init__(size, interpolation, color_jitter)
        if not 0 < ratio <= 1:
            raise UserError(f"CenterCrop: got ratio={ratio}, expected 0 < ratio <= 1")
        self.ratio = ratio

    def __call__(self, image: Opened, rng: Random) -> Shown:
        scale = self.ratio * min(image.height / self.size[0], image.width / self.size[1])
        h, w = (max(1, round(side * scale)) for side in self.size)
        top, left = (image.height - h) // 2, (image.width - w) // 2
        return self.show(image, (top, left, top + h, left + w), rng)


def check_transform(transform: Callable, bands: bool) -> None:
    """Refuse a transform that cannot show images of other channels or depth than 8-bit RGB.

    Args:
        bands: the images are such.

    Raises:
        UserError: it changes colours, or has a filter that such images are not resized with.
    """
    if not bands or not isinstance(transform, _Resized):
        return
    name = type(transform).__name__
    if transform.color_jitter:
        raise UserError(f"{name}: got color_jitter={transform.color_jitter} for images that are not 8-bit RGB, whose "
                        "channels are no colours; expected 0")
    if transform.filter.name.lower() not in ("nearest", "bilinear", "bicubic"):
        raise UserError(f"{name}: got interpolation={transform.filter.name.lower()!r} for images that are not 8-bit "
                        "RGB; expected nearest, bilinear or bicubic")


def check_augment(augment: str, transform: Callable, bands: bool) -> None:
    """Refuse a place of augmentation that is unknown, and `device` for what only the host does.

    Args:
        augment: host or device.
        bands: the images are not 8-bit RGB.

    Raises:
        UserError: it is neither of the two, or `device` with bands, colour jitter, a filter other than bicubic, or a
            transform that is not of this file.
    """
    if augment == "host":
        return
    if augment != "device":
        raise UserError(f"augment={augment!r} is unknown, expected 'host' or 'device'")
    what = None
    if bands:
        what = "images that are not 8-bit RGB"
    elif not isinstance(transform, _Resized):
        what = f"the transform {type(transform).__name__}, which is not one of ours"
    elif transform.color_jitter:
        what = f"color_jitter={transform.color_jitter}"
    elif transform.filter != Image.Resampling.BICUBIC:
        what = f"interpolation={transform.filter.name.lower()!r}; it knows bicubic"
    if what:
        raise UserError(f"augment='device' cannot show {what}: leave `augment` out")


def _is_range(value: tuple[float, float]) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and 0 < value[0] <= value[1]


# Of all its draws, Python promises only those of `random()` to stay the same in later versions.
def _uniform(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _below(rng: Random, end: int) -> int:
    return int(end * rng.random())


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
