"""What every source of stored images offers."""
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from mimtransfer.datasets.tree import printable, some
from mimtransfer.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_BYTES = 2**30  # of one stored image: a size that a file only claims must not fill the memory


class Parts(NamedTuple):
    """The content of an image file, of which parts can be read: that of an image stored raw is mostly not shown."""

    read: Callable[[int, int], bytes]  # (start, stop) -> the bytes from start to stop; raises UnreadableImage
    size: int  # bytes


class Source:
    """Stored images by number, in an order that every machine agrees on. A subclass gives the methods.

    Reading is safe in forked and in spawned loader workers; an open file is never shared.

    Attributes:
        kind: what holds the images, for the log and the record.
        labels: [n] int64 class numbers, or None where the source has no classes.
        classes: names of the classes, in the order of their numbers; empty without classes.
    """

    kind: str
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def read(self, index: int) -> bytes:
        """Return the content of an image file. Raises: UnreadableImage."""
        raise NotImplementedError

    def open(self, index: int) -> bytes | Parts:
        """Return the content of an image file, or the way to its parts if it may be raw. Raises: UnreadableImage."""
        return self.read(index)

    def name(self, index: int) -> str:
        """Say where an image is, for the log."""
        raise NotImplementedError

    def files(self) -> Iterable[str]:
        """Return the paths of the files that hold the images, in order."""
        raise NotImplementedError


def member_name(name: bytes) -> bytes | None:
    """Return the path of an archive's member without a leading `./`; None if it or a folder of it is hidden."""
    name = name.removeprefix(b"./")
    return None if name.startswith(b".") or b"/." in name else name


def classes_of_folders(paths: Sequence[bytes]) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Read the classes of images from the folders they lie in; say which names several folders have.

    Args:
        paths: of the images, relative to the source.

    Returns:
        Sorted names of the innermost folders, and [n] int64 numbers; None where an image lies in no folder.
    """
    folders = [os.path.dirname(path) for path in paths]
    if not folders or b"" in folders:
        return None
    names = sorted(set(folders))
    numbers = {name: number for number, name in enumerate(names)}
    classes = tuple(os.fsdecode(os.path.basename(name)) for name in names)
    if double := [name for name, count in Counter(classes).items() if count > 1]:
        print_log(f"folders of one name in different places are different classes: {printable(some(double))}",
                  logger="current", level=logging.WARNING)
    return classes, np.array([numbers[f] for f in folders])


def check_labels(labels: np.ndarray, classes: Sequence[str], where: str) -> np.ndarray:
    """Return class numbers as int64.

    Raises:
        UserError: one is negative, or there is no class with this number.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        wrong = int(np.flatnonzero((labels < 0) | (labels >= len(classes)))[0])
        raise UserError(f"{where}: image {wrong} has the class number {labels[wrong]}, expected 0 to "
                        f"{len(classes) - 1}")
    return labels
