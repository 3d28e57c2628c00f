"""The reference decoder: Pillow reads and resizes. Its upright size is known before decoding, then one box is decoded.

What is done to pictures that are not plain 8-bit RGB: grey, palette, CMYK and others become RGB; transparent pixels lie
on white; of 16-bit pixels the high byte is kept, as Pillow does for 16-bit colour; the EXIF orientation is applied; of
animations the first frame is shown. 32-bit pixels have no defined range: such a file counts as unreadable.
"""
import io
import math
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, reason

_UPRIGHT = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size when the box still has this many times the pixels wanted on each
# side; the resampling filter then does the rest. Pillow's thumbnails use the same number.
_DRAFT_MARGIN = 2.0


class StoredImage:
    """An opened picture, decoded as late and as little as possible.

    Args:
        source: the content of a picture file, or a picture in memory.

    Raises:
        UnreadableImage: here or in `crop`.
    """

    decoder = "pillow"  # its name in the log and the record
    height: int  # of the upright picture
    width: int
    is_plain_jpeg: bool  # an upright JPEG file in colour or grey

    def __init__(self, source: bytes | Image.Image):
        try:
            self._open(source)
        except BROKEN as error:
            raise UnreadableImage(reason(source, error)) from error

    def _open(self, source: bytes | Image.Image) -> None:
        image = source if isinstance(source, Image.Image) else Image.open(io.BytesIO(source))
        self._source = source
        self._scale: int | None = None  # at which `_image` is decoded
        self._orientation = 1
        self._is_jpeg = isinstance(image, JpegImageFile)
        if self._is_jpeg:
            self._orientation = _orientation(image)
        elif image is not source:
            image.load()  # may turn the picture (TIFF) or find the orientation behind the pixels (PNG)
            if _orientation(image) != 1:
                image = ImageOps.exif_transpose(image)
        self.is_plain_jpeg = self._is_jpeg and image.mode in ("RGB", "L") and self._orientation == 1
        self._image: Any = image
        self._size = image.size
        self.width, self.height = image.size[::-1] if self._orientation >= 5 else image.size

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        """Show a box as `crop` does, as a tensor, flipped left-right or not.

        Returns:
            [3, height, width] uint8 RGB; in memory the channels of a pixel lie side by side.

        Raises:
            UnreadableImage: the pixels cannot be decoded.
        """
        shown = torch.from_numpy(np.array(self.crop(box, size, filter))).permute(2, 0, 1)
        return shown.flip(2) if flip else shown

    def crop(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BICUBIC
    ) -> Image.Image:
        """Cut out a box and resize it, with antialiasing.

        Without a large reduction the pixels are those of Pillow's (and torchvision's) crop and resize.

        Args:
            box: top, left, bottom, right in pixels of the upright picture.
            size: (height, width) of the result.

        Returns:
            RGB.
        """
        try:
            return self._crop(box, size, filter)
        except BROKEN as error:
            raise UnreadableImage(reason(self._image, error)) from error

    def _crop(self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling) -> Image.Image:
        # Crop and resize the picture as it lies in the file, then turn the small result upright.
        stored = _as_stored(box, self._orientation, self._size)
        height, width = size[::-1] if self._orientation >= 5 else size
        scale = self._reduction(stored, (height, width), filter)
        whole, (top, left, bottom, right) = _reduced(stored, scale)
        cut = self._decode(whole, scale).resize((width, height), filter, box=(left, top, right, bottom))
        return cut.transpose(_UPRIGHT[self._orientation]) if self._orientation != 1 else cut

    def cut(
        self, box: tuple[int, int, int, int], least: tuple[float, float], most: tuple[int, int]
    ) -> tuple[np.ndarray, tuple[float, ...]] | None:
        """Cut out a box without resizing it; a JPEG file is decoded at the first reduction at which it is small enough.

        Args:
            box: top, left, bottom, right in pixels of the upright picture.
            least: (height, width) that the box must still have when it is reduced.
            most: (height, width) that it may have.

        Returns:
            Pixels [h, w, 3] uint8 RGB, perhaps read-only, and the edges of the box in them (top, left, bottom, right),
            which a reduction may put between two pixels. None where no reduction fits, and of rotated pictures.

        Raises:
            UnreadableImage: the pixels cannot be decoded.
        """
        if self._orientation != 1:
            return None
        for scale in (1, 2, 4, 8) if self._is_jpeg else (1,):
            (x, y, right, bottom), edges = _reduced(box, scale)
            if bottom - y <= most[0] and right - x <= most[1]:
                break
        else:
            return None
        if scale > 1 and (edges[2] - edges[0] < least[0] or edges[3] - edges[1] < least[1]):
            return None
        try:
            return self._cut((x, y, right, bottom), scale), edges
        except BROKEN as error:
            raise UnreadableImage(reason(self._image, error)) from error

    def _cut(self, box: tuple[int, int, int, int], scale: int) -> np.ndarray:
        """Return what `_decode` gives as an array."""
        return np.asarray(self._decode(box, scale))

    def _reduction(self, box: tuple[float, ...], size: tuple[int, int], filter: Image.Resampling) -> int:
        """Say at which part of its size a file is decoded for a box of the stored picture: 1, 1/2, 1/4, 1/8."""
        if not self._is_jpeg or filter == Image.Resampling.NEAREST:
            return 1
        top, left, bottom, right = box
        fit = min((bottom - top) / (_DRAFT_MARGIN * size[0]), (right - left) / (_DRAFT_MARGIN * size[1]))
        return next((scale for scale in (8, 4, 2) if scale <= fit), 1)

    def _decode(self, box: tuple[int, int, int, int], scale: int) -> Image.Image:
        """Return the pixels of a box (left, top, right, bottom) of the picture reduced by `scale`, in RGB."""
        if self._scale not in (None, scale):  # Pillow decodes a file once; another box may ask for another reduction
            assert isinstance(self._source, bytes)
            self._image = Image.open(io.BytesIO(self._source))
        if scale > 1 and scale != self._scale:
            self._image.draft(None, (self._size[0] // scale, self._size[1] // scale))
        self._scale = scale
        return _to_rgb(self._image.crop(box), self._image.format)


def _reduced(box: tuple[int, int, int, int], scale: int) -> tuple[tuple[int, int, int, int], tuple[float, ...]]:
    """Reduce a box (top, left, bottom, right): the box of whole pixels around it (left, top, right, bottom), and its
    own edges in that one (top, left, bottom, right).
    """
    # The last column of a draft may stand for less than `scale` columns: boxes are divided by the scale itself.
    top, left, bottom, right = (side / scale for side in box)
    x, y = math.floor(left), math.floor(top)
    return (x, y, math.ceil(right), math.ceil(bottom)), (top - y, left - x, bottom - y, right - x)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except BROKEN:  # broken EXIF data does not make the pixels unreadable
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _as_stored(box: tuple[int, int, int, int], orientation: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Turn a box of the upright picture into that of the same stored pixels; `size` is the stored (width, height)."""
    top, left, bottom, right = box
    width, height = size
    if orientation >= 5:  # upright rows are stored columns
        top, left, bottom, right = left, top, right, bottom
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    return top, left, bottom, right


def _to_rgb(image: Image.Image, format: str | None) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and format == "PNG"):  # older Pillows: I
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}: 32-bit pixels have no defined range; save as 8 or 16 bit")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")
