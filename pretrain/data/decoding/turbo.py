"""The fast decoder for JPEG files: libjpeg-turbo by simplejpeg, resizing by torch's uint8 kernels.

Pillow decodes the same pixels and takes most of its time for its resize: torch's antialiased one, on pixels that lie
as the decoder wrote them, takes a quarter of it and differs in its rounding alone, by one grey level in 3 % of the
values. What this path does not know (other formats, CMYK, rotated photographs, broken files) is left to Pillow's.

simplejpeg of the packages that bring libjpeg-turbo as a wheel, because it was the fastest of those that need no
library of the system; none of them can decode the rows of a box alone. docs/benchmarks.md has the figures.
"""
import math
import re

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pretrain.data.decoding.pillow import StoredImage

try:
    from simplejpeg import decode_jpeg, decode_jpeg_header
except ImportError:  # no wheel for this machine: `decoding.choose` takes Pillow
    decode_jpeg = None

_MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
_SCAN, _APP1 = b"\xda", b"\xe1"  # JPEG markers: the pixels follow; EXIF data or XMP, which may say that it is turned


class TurboImage(StoredImage):
    """A stored picture whose JPEG files are decoded and resized faster."""

    decoder = "turbo"

    def _open(self, source: bytes | Image.Image) -> None:
        self._pixels: dict[int, np.ndarray] = {}  # of the last reduction: some callers show several boxes
        self._content: bytes | None = None  # of a file that is not left to Pillow
        if not isinstance(source, bytes):
            super()._open(source)
        elif (raw := read_raw(source)) is not None:  # nothing is decoded, and a box needs no copy of the rest
            self._describe(source, *raw.shape[:2])
            self._pixels = {1: raw}
        elif (size := read_size(source)) is not None:
            self._describe(source, *size)
            self._is_jpeg, self.is_plain_jpeg, self._content = True, True, source
        else:
            super()._open(source)
            self._content = source if self.is_plain_jpeg else None

    def _describe(self, source: bytes, height: int, width: int) -> None:
        """Set what `_open` of Pillow's path would, without opening the file."""
        self.height, self.width = height, width
        self._size, self._orientation, self._scale = (width, height), 1, None
        self._source, self._image = source, None
        self._is_jpeg = self.is_plain_jpeg = False

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        whole = filter in _MODES and self._orientation == 1 and self._reduction(box, size, filter) == 1
        decoded = self._decoded(1) if whole else None
        if decoded is None:
            return super().pixels(box, size, filter, flip)
        top, left, bottom, right = box
        # torch takes half the time where all strides say channels-last, and less without gaps between rows.
        cut = torch.from_numpy(decoded[top:bottom, left:right].copy())[None].permute(0, 3, 1, 2)
        shown = interpolate(cut, size, mode=_MODES[filter], antialias=True)[0]
        return shown.flip(2) if flip else shown

    def _decode(self, box: tuple[int, int, int, int], scale: int) -> Image.Image:
        decoded = self._decoded(scale)
        if decoded is None:
            if self._image is None:  # the header said nothing of what is wrong
                super()._open(self._source)
            return super()._decode(box, scale)
        left, top, right, bottom = box
        height, width = decoded.shape[:2]
        return Image.fromarray(decoded[top : min(bottom, height), left : min(right, width)])

    def _cut(self, box: tuple[int, int, int, int], scale: int) -> np.ndarray:
        decoded = self._decoded(scale)
        left, top, right, bottom = box
        return super()._cut(box, scale) if decoded is None else decoded[top:bottom, left:right]

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


def read_raw(content: bytes) -> np.ndarray | None:
    """Return the pixels of a binary PPM file of 8 bits, as tools/prepare_data.py writes it, without a copy.

    Returns:
        [H, W, 3] uint8; None for anything else, which Pillow may know.
    """
    header = re.match(rb"P6\n(\d{1,5}) (\d{1,5})\n255\n", content[:32])
    if header is None:
        return None
    width, height = map(int, header.groups())
    if len(content) != header.end() + 3 * width * height or not width * height:
        return None
    return np.frombuffer(content, np.uint8, offset=header.end()).reshape(height, width, 3)
