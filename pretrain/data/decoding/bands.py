"""The decoder for images of any number of channels and of 8, 16 or 32 bits: nothing is reduced to RGB or to 8 bits."""
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from mimtransfer.datasets.bands import check_finite, read_bands

_MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic",
          Image.Resampling.NEAREST: "nearest-exact"}


class BandsImage:
    """An image file whose channels are kept as they are; the counterpart of `StoredImage`.

    Args:
        content: of a file that `mimtransfer.datasets.bands.read_bands` reads.
        in_chans: channels it must have.

    Raises:
        UnreadableImage: it is no such image.
        UserError: a TIFF file, and tifffile is not installed.
    """

    decoder = "bands"

    def __init__(self, content: bytes, in_chans: int):
        self._pixels = read_bands(content, in_chans)  # [H, W, C]
        self.height, self.width = self._pixels.shape[:2]

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Tensor:
        """Cut out a box and resize it, with antialiasing, in float32; flipped left-right or not.

        Args:
            box: top, left, bottom, right in pixels.
            size: (height, width) of the result.
            filter: bilinear, bicubic or nearest.

        Returns:
            [C, height, width], contiguous: uint8 of a file of 8 bits, else float32 in the units of the file.

        Raises:
            UnreadableImage: pixels in the box are NaN or infinite.
            ValueError: another filter.
        """
        if filter not in _MODES:
            raise ValueError(f"got the filter {filter.name.lower()}, expected bilinear, bicubic or nearest")
        top, left, bottom, right = box
        cut = np.ascontiguousarray(self._pixels[top:bottom, left:right].transpose(2, 0, 1), dtype=np.float32)
        values = torch.from_numpy(cut.copy() if cut.base is not None else cut)[None]  # a file in memory is read-only
        check_finite(cut)
        if values.shape[2:] != size:
            smooth = filter != Image.Resampling.NEAREST
            values = interpolate(values, size, mode=_MODES[filter], antialias=smooth)
            if self._pixels.dtype.kind == "u":  # bicubic rings at edges
                values = values.clamp_(0, np.iinfo(self._pixels.dtype).max)
        shown = values[0].flip(2) if flip else values[0]
        if self._pixels.dtype == np.uint8:
            shown = shown.round().to(torch.uint8)
        return shown.contiguous()
