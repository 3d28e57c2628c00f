"""Read images of any number of channels and of 8, 16 or 32 bits: TIFF and GeoTIFF by tifffile, .npy, and by Pillow what
else is stored in 8 or 16 bits. Nothing is reduced to 8 bits, and no channel is added or left out.
"""
from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from mimtransfer.checkpoints.channels import MOST, check_in_chans
from mimtransfer.datasets.sources.base import EXTENSIONS, MAX_BYTES
from mimtransfer.datasets.unreadable import BROKEN, CorruptLimit, UnreadableImage, read_regular, reason
from mimtransfer.errors import UserError
from mimtransfer.registry import TRANSFORMS

BAND_EXTENSIONS = (*EXTENSIONS, ".npy")
DTYPES = ("uint8", "uint16", "float32")
_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_bands(content: bytes, in_chans: int | None = None) -> np.ndarray:
    """Decode the content of an image file.

    The channels lie last or first, or are the pages of a TIFF file. Where the file does not say which axis they are, it
    is the last if that has `in_chans` entries, else the first.

    Args:
        in_chans: expected; None: 1 to 16, and where the file does not say their axis, the shorter of the two.

    Returns:
        [H, W, C] uint8, uint16 or float32; a view.

    Raises:
        UnreadableImage: it is no whole image, or of another number of channels or another dtype.
        UserError: it is a TIFF file and tifffile is not installed.
    """
    try:
        if content[:4] in _TIFF:
            pixels = _read_tiff(content, in_chans)
        elif content.startswith(_NPY):
            pixels = _channels_last(_read_npy(content), in_chans)
        else:
            pixels = _read_by_pillow(content)
    except UserError:  # a ValueError
        raise
    except BROKEN as error:
        raise UnreadableImage(reason(content, error)) from error
    if not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype.name not in DTYPES:
        raise UnreadableImage(f"pixels of {pixels.dtype}, expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    if in_chans is not None and pixels.shape[2] != in_chans:
        raise UnreadableImage(f"{_count(pixels.shape[2])}, expected {in_chans} (in_chans)")
    if not 1 <= pixels.shape[2] <= MOST or not pixels.size:
        raise UnreadableImage(f"an array {list(pixels.shape)}, expected 1 to {MOST} channels")
    return pixels


def show_bands(pixels: np.ndarray) -> np.ndarray:
    """Return [H, W, 3] uint8 to look at: the first three channels, or grey from the first of one or two. Of more than 8
    bits each channel is stretched from its least value to its greatest.
    """
    shown = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1].repeat(3, 2)
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    values = shown.astype(np.float64)
    low, high = values.min((0, 1)), values.max((0, 1))
    return ((values - low) / np.maximum(high - low, 1e-12) * 255).round().astype(np.uint8)


def check_finite(pixels: np.ndarray) -> None:
    """Refuse pixels that cannot be trained on.

    Raises:
        UnreadableImage: one is NaN or infinite.
    """
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels.sum(dtype=np.float64)) or np.isfinite(pixels).all()):
        raise UnreadableImage("NaN or infinite pixels; fill them, e.g. with the mean of the channel")


def _read_npy(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"version {version} of .npy")
    shape, is_fortran, dtype = header(stream)
    if dtype.kind not in "uif":  # before an object of any kind could be made
        raise UnreadableImage(f"an array of {dtype}, expected {', '.join(DTYPES)}")
    count = math.prod(shape)
    if len(content) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes do not hold an array {list(shape)} of {dtype}")
    pixels = np.frombuffer(content, dtype, count, stream.tell())
    return pixels.reshape(shape, order="F" if is_fortran else "C")


def _read_tiff(content: bytes, in_chans: int | None) -> np.ndarray:
    try:
        import tifffile
    except ImportError as error:
        raise UserError("TIFF files are read by tifffile, which is missing: pip install 'mimtransfer[tiff]'") from error
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            series = file.series[0]
            size = math.prod(series.shape) * series.dtype.itemsize
            if size > MAX_BYTES:  # a size that a file only claims must not fill the memory
                raise UnreadableImage(f"{size:,} bytes of pixels, expected at most {MAX_BYTES:,}; cut it into tiles")
            axes, pixels = series.axes, series.asarray()
    except (tifffile.TiffFileError, RuntimeError) as error:  # a codec may fail as it likes
        raise UnreadableImage(reason(content, error)) from error
    others = [axis for axis, name in enumerate(axes) if name not in "YX"]
    # Of samples (S) and channels (C) the file says so itself; other axes may be rows that were written as pages.
    if pixels.ndim == len(axes) == len(others) + 2 and all(axes[axis] in "SC" for axis in others):
        order = [axes.index("Y"), axes.index("X"), *others]
        pixels = pixels.transpose(order)  # [H, W, ...]
        return pixels.reshape(*pixels.shape[:2], -1)
    return _channels_last(pixels, in_chans)


def _channels_last(pixels: np.ndarray, in_chans: int | None) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.ndim != 3:
        raise UnreadableImage(f"an array {list(pixels.shape)}, expected height, width and channels")
    first, last = pixels.shape[0], pixels.shape[2]
    is_first = last != in_chans and first == in_chans if in_chans else first < last
    return pixels.transpose(1, 2, 0) if is_first else pixels


def _read_by_pillow(content: bytes) -> np.ndarray:
    if not content:
        raise UnreadableImage("the file is empty")
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        kind, mode = image.format, image.mode
        if mode.startswith("I;16") or (mode == "I" and kind == "PNG"):  # older Pillows: I
            pixels = np.asarray(image).astype(np.uint16)
        elif mode in ("L", "RGB", "RGBA", "LA", "CMYK"):
            pixels = np.asarray(image)
        elif mode in ("1", "P", "YCbCr", "PA"):
            pixels = np.asarray(image.convert("L" if mode == "1" else "RGB"))
        else:
            raise UnreadableImage(f"a {kind} of mode {mode}; save it as TIFF or .npy")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _count(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


@TRANSFORMS.register_module()
class LoadBands:
    """Load an image of any number of channels in a pipeline of mmseg, where `LoadImageFromFile` loads RGB.

    The channels are in the order of the file: data_preprocessor has `bgr_to_rgb=False`.

    Args:
        in_chans: number of channels; the top-level `in_chans` of a config sets it.
        max_corrupt: so many unreadable images of a training set are replaced by others, in each training process.

    Raises:
        UserError: from a call: the file cannot be read.
    """

    def __init__(self, in_chans: int, max_corrupt: int = 0):
        check_in_chans("LoadBands", in_chans)
        self.in_chans = in_chans
        self._limit = CorruptLimit(max_corrupt)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Return the results with `img`, [H, W, C] uint8 or float32, or None: another image takes its place."""
        path = results["img_path"]
        try:
            pixels = read_bands(read_regular(path), self.in_chans)
            check_finite(pixels)
        except UnreadableImage as error:
            self._limit.note(path, str(error))
            return None
        if pixels.dtype == np.uint16:  # float32 holds each of its values; OpenCV and torch do little with uint16
            pixels = pixels.astype(np.float32)
        results["img"] = np.ascontiguousarray(pixels)
        results["img_shape"] = results["ori_shape"] = pixels.shape[:2]
        return results
