"""Images stored raw, as tools/prepare_data.py writes them: binary PPM files of 8 bits, of which only rows are read."""
import re

import numpy as np

from mimtransfer.datasets.sources.base import Parts

_HEADER = re.compile(rb"P6\n(\d{1,5}) (\d{1,5})\n255\n")
_LONGEST = 19  # bytes of a header


class RawPixels:
    """The pixels of a raw image, [height, width, 3] uint8, by rows.

    Args:
        content: of the file, or the way to its parts.
        start: where the pixels begin.
    """

    def __init__(self, content: bytes | Parts, start: int, height: int, width: int):
        self._content, self._start = content, start
        self.height, self.width = height, width

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Return rows [bottom - top, width, 3], read-only. Raises: UnreadableImage, they cannot be read."""
        length = 3 * self.width
        start, stop = self._start + top * length, self._start + bottom * length
        if isinstance(self._content, bytes):
            found = np.frombuffer(self._content, np.uint8, stop - start, start)
        else:
            found = np.frombuffer(self._content.read(start, stop), np.uint8)
        return found.reshape(bottom - top, self.width, 3)


def find_pixels(content: bytes | Parts) -> RawPixels | None:
    """Return the pixels of a raw image by its header; None for anything else, which Pillow may know.

    Raises:
        UnreadableImage: the header cannot be read.
    """
    if isinstance(content, bytes):
        size, head = len(content), content[:_LONGEST]
    else:
        size = content.size
        head = content.read(0, min(size, _LONGEST))
    header = _HEADER.match(head)
    if header is None:
        return None
    width, height = map(int, header.groups())
    if size != header.end() + 3 * width * height or not width * height:
        return None
    return RawPixels(content, header.end(), height, width)
