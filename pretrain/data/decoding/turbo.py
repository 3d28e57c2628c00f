"""The fast decoder for JPEG files: libjpeg-turbo by simplejpeg, resizing by torch's uint8 kernels.

Pillow decodes the same pixels and takes most of its time for its resize: torch's antialiased one, on pixels that lie
as the decoder wrote them, takes a quarter of it and differs in its rounding alone, by one grey level in 3 % of the
values. What this path does not know (other formats, CMYK, rotated photographs, broken files) is left to Pillow's.

simplejpeg of the packages that bring libjpeg-turbo as a wheel, because it was the fastest of those that need no
library of the system; none of them can decode the rows of a box alone. docs/benchmarks.md has the figures.
"""
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimtransfer.datasets.sources.base import Parts
from pretrain.data.decoding.pillow import StoredImage
from pretrain.data.decoding.raw import RawPixels, find_pixels

try:
    from simplejpeg import decode_jpeg, decode_jpeg_header
except ImportError:  # no wheel for this machine: `decoding.choose` takes Pillow
    decode_jpeg = None

# What `interpolate(..., antialias=True)` calls after checks that take a twentieth of its time.
_RESIZE = {
    Image.Resampling.BILINEAR: torch.ops.aten._upsample_bilinear2d_aa.default,
    Image.Resampling.BICUBIC: torch.ops.aten._upsample_bicubic2d_aa.default,
}
_SCAN, _APP1 = b"\xda", b"\xe1"  # JPEG markers: the pixels follow; EXIF data or XMP, which may say that it is turned


class TurboImage(StoredImage):
    """A stored picture whose JPEG files are decoded and resized faster."""

    decoder = "turbo"

    def __init__(self, source: bytes | Parts | Image.Image):
        self._pixels: dict[int, np.ndarray] = {}  # of the last reduction: some callers show several boxes
        self._content: bytes | None = None  # of a file that is not left to Pillow
        self._raw: RawPixels | None = None
        if not isinstance(source, Image.Image):
            self._raw = find_pixels(source)
        if self._raw is not None:  # nothing is decoded, and nothing but the rows of a box is read
            self._describe(self._raw.height, self._raw.width)
        else:
            super().__init__(source.read(0, source.size) if isinstance(source, Parts) else source)

    def _open(self, source: bytes | Image.Image) -> None:
        if isinstance(source, bytes) and (size := read_size(source)) is not None:
            self._describe(*size)
            self._is_jpeg, self.is_plain_jpeg, self._source, self._content = True, True, source, source
        else:
            super()._open(source)
            if self.is_plain_jpeg and isinstance(source, bytes):
                self._content = source

    def _describe(self, height: int, width: int) -> None:
        """Set what `_open` of Pillow's path would, without opening the file."""
        self.height, self.width = height, width
        self._size, self._orientation, self._scale = (width, height), 1, None
        self._image = None
        self._is_jpeg = self.is_plain_jpeg = False

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        top, left, bottom, right = box
        rows = None
        if filter in _RESIZE and self._orientation == 1 and self._reduction(box, size, filter) == 1:
            rows = self._rows(top, bottom, 1)
        if rows is None:
            return super().pixels(box, size, filter, flip)
        # torch takes half the time where all strides say channels-last, and less without gaps between rows.
        cut = torch.from_numpy(rows[None, :, left:right].copy().transpose(0, 3, 1, 2))
        shown = _RESIZE[filter](cut, size, False)[0]
        return shown.flip(2) if flip else shown

    def _decode(self, box: tuple[int, int, int, int], scale: int) -> Image.Image:
        left, top, right, bottom = box
        rows = self._rows(top, bottom, scale)
        if rows is None:
            if self._image is None:  # the header said nothing of what is wrong
                super()._open(self._source)
            return super()._decode(box, scale)
        return Image.fromarray(rows[:, left : min(right, rows.shape[1])])

    def _cut(self, box: tuple[int, int, int, int], scale: int) -> np.ndarray:
        left, top, right, bottom = box
        rows = self._rows(top, bottom, scale)
        return super()._cut(box, scale) if rows is None else rows[:, left:right]

    def _rows(self, top: int, bottom: int, scale: int) -> np.ndarray | None:
        """Return rows [bottom - top, W, 3] of the picture reduced by `scale`, or None where Pillow must read this file.

        Of a reduced one the last row may be left out. Raises: UnreadableImage, a raw image cannot be read.
        """
        if self._raw is not None:
            return self._raw.rows(top, bottom)
        decoded = self._decoded(scale)
        return None if decoded is None else decoded[top:bottom]

    def _decoded(self, scale: int) -> np.ndarray | None:
        """Return all pixels [H, W, 3], reduced by `scale`, or None where Pillow must read this file."""
        if scale not in self._pixels:
            if self._content is None:
                return None
            height, width = (math.ceil(side / scale) for side in self._size[::-1])
            try:
                decoded = decode_jpeg(self._content, "RGB", min_height=height, min_width=width, min_factor=scale)
            except ValueError:  # also for what libjpeg only warns of; Pillow says what is wrong, or reads it
                decoded = None
            if decoded is None or decoded.shape[:2] != (height, width):
                self._content = None
                return None
            self._pixels = {scale: decoded}
        return self._pixels[scale]


def read_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width of a JPEG file by its header, in a fraction of the time in which Pillow opens it.

    Returns:
        None where Pillow may have more to say: of files with EXIF data, of other colours than RGB or grey, of broken
        ones, and of those of another format.
    """
    if decode_jpeg is None or content[:2] != b"\xff\xd8":
        return None
    at = 2
    while (marker := content[at + 1 : at + 2]) != _SCAN:
        if content[at : at + 1] != b"\xff" or marker == _APP1:
            return None
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    try:
        height, width, colors, _ = decode_jpeg_header(content)
    except ValueError:
        return None
    plain = colors in ("YCbCr", "Gray") and height * width <= (Image.MAX_IMAGE_PIXELS or math.inf)
    return (height, width) if plain else None
