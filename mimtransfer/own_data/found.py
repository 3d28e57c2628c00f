"""What any format of boxes is read into: images, objects and classes, before they are split and written."""
from __future__ import annotations

import os.path as osp
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.unreadable import BROKEN, reason
from mimtransfer.errors import UserError, near_files

IMAGE_ENDINGS = tuple(ending for ending in EXTENSIONS if ending != ".gif")  # which OpenCV reads in new versions only
SPLIT_NAMES = {
    "train": ("train", "training", "train2017", "train2014"),
    "val": ("val", "valid", "validation", "dev", "val2017", "val2014"),
    "test": ("test", "testing", "test2017"),
}
_ORIENTATION = 0x0112  # EXIF
UNSEEN_TURN = "images are turned by their EXIF data at the same size: were they labelled as viewers show them?"


class Size(NamedTuple):
    """Size of an image."""

    width: int  # as pipelines and viewers show it: turned as its EXIF data say
    height: int
    orientation: int  # EXIF: 1 upright, 5 to 8 with sides exchanged

    @property
    def stored(self) -> tuple[int, int]:
        """Return (width, height) as stored, not turned."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


    @property
    def turns_unseen(self) -> bool:
        """Say whether it is turned or mirrored at the same size: no size tells whether its labels were, too."""
        return self.orientation in (2, 3, 4) or (self.orientation > 4 and self.width == self.height)


class LabelledObject(NamedTuple):
    """One object in an image."""

    label: int  # number of its class
    box: tuple[float, float, float, float]  # x y width height in pixels of the image as it is shown, inside of it
    polygon: tuple[float, ...] | None = None  # x0 y0 x1 y1 ... in the same pixels
    ignored: bool = False  # neither learned nor scored: `difficult` of VOC


class LabelledImage(NamedTuple):
    """An image with its objects."""

    path: str  # absolute
    width: int
    height: int
    objects: tuple[LabelledObject, ...]


@dataclass
class FoundBoxes:
    """A data set of boxes, or of boxes and polygons, as it was found."""

    source: str  # yolo or voc
    root: str  # absolute; all images lie below it
    classes: tuple[str, ...]
    splits: dict[str, list[LabelledImage]]  # train, val, test; of those that were given
    notes: Counter[str] = field(default_factory=Counter)  # what a user should know -> how often it occurred

    @property
    def masks(self) -> bool:
        """Say whether each object that counts has a polygon."""
        objects = [found for images in self.splits.values() for image in images for found in image.objects]
        return bool(objects) and all(found.polygon is not None for found in objects if not found.ignored)


def image_size(path: str) -> Size:
    """Read the size of an image without decoding its pixels.

    Raises:
        UserError: it is not there, or no image.
    """
    if not osp.isfile(path):
        raise UserError(f"image {path!r} is not there{near_files(path).replace(';', ',')}; copy it there or remove "
                        "its labels")
    try:
        (width, height), exif = _size_and_exif(path)
    except BROKEN as error:
        raise UserError(f"image {path!r} cannot be read ({reason(None, error)}); repair it or remove it with its "
                        "labels") from None
    orientation = exif.get(_ORIENTATION, 1)
    orientation = orientation if type(orientation) is int and 1 <= orientation <= 8 else 1
    return Size(height, width, orientation) if orientation >= 5 else Size(width, height, orientation)


def _size_and_exif(path: str) -> tuple[tuple[int, int], Image.Exif]:
    with Image.open(path) as image:
        if not isinstance(image, PngImageFile) or "exif" in image.info:
            return image.size, image.getexif()
        assert image.png is not None and image.fp is not None
        # Pillow decodes a PNG for what could follow the pixels. Going through its chunks, and their checksums, says it.
        image.fp.seek(image.tile[0][2] - 8)
        if set(image.png.verify()) == {b"IDAT"}:
            return image.size, Image.Image.getexif(image)
    with Image.open(path) as image:
        return image.size, image.getexif()


def turned(x0: float, y0: float, x1: float, y1: float, size: Size) -> tuple[float, float, float, float]:
    """Bring the corners of a box from an image as it is stored to the image as it is shown.

    Args:
        x0, y0, x1, y1: corners in pixels of the stored image, from its edge.
        size: of the image, with an EXIF orientation of 5 to 8.
    """
    width, height = size.stored
    if size.orientation in (6, 7):  # the top of the stored image is shown on the right
        y0, y1 = height - y1, height - y0
    if size.orientation in (7, 8):  # its left side is shown at the bottom
        x0, x1 = width - x1, width - x0
    return y0, x0, y1, x1


def clipped(
    x0: float, y0: float, x1: float, y1: float, width: int, height: int, where: str, notes: Counter[str]
) -> tuple[float, float, float, float]:
    """Return x y width height of the part of a box that lies in its image.

    Args:
        x0, y0, x1, y1: corners in pixels from the image's edge.
        where: file, and line or number of the object, for the message.
        notes: counts the boxes that end more than a pixel outside.

    Raises:
        UserError: the box has no area, or none inside of the image.
    """
    if not (x1 > x0 and y1 > y0):
        raise UserError(f"{where}: the box has no area (its corners are {x0:g}, {y0:g} and {x1:g}, {y1:g}); correct "
                        "or remove it")
    if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
        notes["boxes that ended outside their image were cut at its edge"] += 1
    left, top, right, bottom = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    if right <= left or bottom <= top:
        raise UserError(f"{where}: the box lies outside the image of {width}x{height} pixels (its corners are {x0:g}, "
                        f"{y0:g} and {x1:g}, {y1:g}); correct or remove it")
    return left, top, right - left, bottom - top


def split_of(name: str) -> str | None:
    """Return which split a folder or a file of this name holds: train, val or test; None for another name."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)
