"""Files that are no readable image: how that is noticed, worded and, up to a number of images, gone on from."""
import hashlib
import io
import logging
import os
import struct
import zlib

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from mimtransfer.datasets.tree import printable
from mimtransfer.errors import UserError

# What Pillow's readers raise on broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UnreadableImage(Exception):
    """A file is not a readable image; the message says why."""


def reason(content: object, error: Exception) -> str:
    """Say why an image with this content cannot be read."""
    if content == b"":
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that Pillow reads"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def named_path(path: str) -> str:
    """Return how a message names a file: a link by what it points to. `data/folders` of a work dir holds links to the
    user's images.
    """
    return printable(os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
                     if os.path.islink(path) else path)


def refuse(path: str, why: str, what: str = "image") -> UserError:
    """Return the error for a file that cannot be read."""
    return UserError(f"{what} {named_path(path)!r} cannot be read ({why}); repair it or remove it, or train "
                     "without such images by --max-corrupt N")


def read_regular(path: str) -> bytes:
    """Read a file; a named pipe would wait for ever.

    Raises:
        UnreadableImage: there is no such file, or it cannot be read.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise UnreadableImage("no regular file")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from error
    except ValueError as error:  # a zero in the path
        raise UnreadableImage(str(error)) from error


def open_rgb(path: str) -> Image.Image:
    """Decode an image file wholly, in RGB. Of 16-bit pixels the high byte is kept.

    Raises:
        UnreadableImage: it cannot be read.
    """
    return decode_rgb(read_regular(path))


def decode_rgb(content: bytes) -> Image.Image:
    """Decode the content of an image file, as `open_rgb`. Raises: UnreadableImage."""
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        kind = image.format
        image.load()
        if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):  # older Pillows: I
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError(f"mode {image.mode}: 32-bit pixels have no defined range; save as 8 or 16 bit")
        return image.convert("RGB")
    except BROKEN as error:
        raise UnreadableImage(reason(content, error)) from error


class CorruptLimit:
    """Count unreadable images over all workers of a process.

    Args:
        limit: so many different ones are gone on from.

    Raises:
        UserError: `limit` is no integer from 0 on.
    """

    def __init__(self, limit: int):
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise UserError(f"got max_corrupt={limit!r}, expected an integer >= 0")
        self.limit = limit
        self._known = torch.zeros(limit, dtype=torch.int64).share_memory_() if limit else torch.zeros(0)

    def note(self, path: str, why: str, what: str = "image") -> None:
        """Go on from an image, named in the log the first time.

        Raises:
            UserError: it is one too many.
        """
        if self.limit == 0:
            raise refuse(path, why, what)
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        key = int.from_bytes(digest, "little", signed=True) or 1
        if (self._known == key).any():
            return
        free = (self._known == 0).nonzero()
        if len(free) == 0:
            raise UserError(f"more than max_corrupt={self.limit} images cannot be read, the last is "
                            f"{named_path(path)!r} ({why}); repair or remove them, or raise --max-corrupt")
        self._known[free[0]] = key
        count = self.limit - len(free) + 1
        print_log(
            f"{what} {named_path(path)} cannot be read ({why}), another takes its place; {count} so far, limit "
            f"max_corrupt={self.limit}",
            logger="current",
            level=logging.ERROR,  # mmengine shows nothing less of ranks other than 0
        )
