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
from PIL.JpegImagePlugin import JpegImageFile
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

    def _open(self, source: bytes | Image.Image) -> None:
        super()._open(source)
        plain = isinstance(self._image, JpegImageFile) and self._image.mode in ("RGB", "L")
        self._content = source if plain and isinstance(source, bytes) else None
        self._pixels: dict[int, np.ndarray] = {}  # of the last reduction: some callers show several boxes

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        whole = filter in _MODES and self._orientation == 1 and self._reduction(box, size, filter) == 1
        decoded = self._decoded(1) if whole else None
        if decoded is None:
            return super().pixels(box, size, filter, flip)
        top, left, bottom, right = box
        cut = torch.from_numpy(decoded[top:bottom, left:right]).permute(2, 0, 1)[None]
        # torch is a third faster on a copy without gaps between the rows.
        cut = cut.contiguous(memory_format=torch.channels_last)
        shown = interpolate(cut, size, mode=_MODES[filter], antialias=True)[0]
        return shown.flip(2) if flip else shown.contiguous()

    def _decode(self, box: tuple[int, int, int, int], scale: int) -> Image.Image:
        decoded = self._decoded(scale)
        if decoded is None:
            return super()._decode(box, scale)
        left, top, right, bottom = box
        height, width = decoded.shape[:2]
        return Image.fromarray(decoded[top : min(bottom, height), left : min(right, width)])

    def _decoded(self, scale: int) -> np.ndarray | None:
        """Return all pixels [H, W, 3], reduced by `scale`, or None where Pillow must read this file."""
        if self._content is None:
            return None
        if scale not in self._pixels:
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
