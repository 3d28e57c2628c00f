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
    from simplejpeg import decode_jpeg
except ImportError:  # no wheel for this machine: `decoding.choose` takes Pillow
    decode_jpeg = None

_MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


class TurboImage(StoredImage):
    """A stored picture whose JPEG files are decoded and resized faster."""

    decoder = "turbo"

    def _open(self, source: bytes | Image.Image) -> None:
        raw = read_raw(source) if isinstance(source, bytes) else None
        if raw is None:
            super()._open(source)
            plain = isinstance(source, bytes) and self.is_plain_jpeg
            self._content = source if plain else None
            self._pixels: dict[int, np.ndarray] = {}  # of the last reduction: some callers show several boxes
        else:  # nothing is decoded, and a box needs no copy of the rest
            self.height, self.width = raw.shape[:2]
            self._size, self._orientation, self._scale = (self.width, self.height), 1, None
            self._is_jpeg, self._content, self._pixels = False, None, {1: raw}

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        whole = filter in _MODES and self._orientation == 1 and self._reduction(box, size, filter) == 1
        decoded = self._decoded(1) if whole else None
        if decoded is None:
            return super().pixels(box, size, filter, flip)
        top, left, bottom, right = box
        # torch is a third faster on a copy without gaps between the rows.
        cut = torch.from_numpy(decoded[top:bottom, left:right].copy()).permute(2, 0, 1)[None]
        shown = interpolate(cut, size, mode=_MODES[filter], antialias=True)[0]
        return (shown.flip(2) if flip else shown).contiguous()

    def _decode(self, box: tuple[int, int, int, int], scale: int) -> Image.Image:
        decoded = self._decoded(scale)
        if decoded is None:
            return super()._decode(box, scale)
        left, top, right, bottom = box
        height, width = decoded.shape[:2]
        return Image.fromarray(decoded[top : min(bottom, height), left : min(right, width)])

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
