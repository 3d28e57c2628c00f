"""Which files are the images of a training set, in an order that every machine agrees on."""
import codecs
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from mmengine.logging import print_log

from mimtransfer.datasets.tree import left_out_images, printable, some, walk
from mimtransfer.errors import UserError, near_files


class PathTable:
    """Keep many paths in two arrays.

    A list of 1.28 M `str` costs 130 MB in each worker: reading one changes its reference count, and so copies its
    memory page after a fork. The bytes of the same paths are 40 MB and are never copied.
    """

    def __init__(self, paths: Sequence[bytes]):
        self.ends = np.cumsum([0, *map(len, paths)], dtype=np.int64)
        self.bytes = np.frombuffer(b"".join(paths), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        return os.fsdecode(self.bytes[self.ends[index] : self.ends[index + 1]].tobytes())


def find_images(root: str, extensions: Iterable[str], left_out: list[str] | None = None) -> list[bytes]:
    """Find every image file under a folder, at any depth.

    Links to folders are followed. Left out, and named in the log, are hidden images, a folder that is reached a second
    time (a loop, or two links to one place), folders without permission, and what is no regular file.

    Args:
        left_out: takes the line of the log that names them.

    Returns:
        Paths relative to `root`, sorted by their bytes: the same on every machine and in every locale.

    Raises:
        UserError: `root` is missing, is no folder, cannot be read, or holds no image.
    """
    if not os.path.exists(root):
        raise UserError(f"image folder {root} does not exist: set train_dataloader.dataset.root to a folder"
                        f"{near_files(str(root))}")
    if not os.path.isdir(root):
        raise UserError(f"image folder {root} is a file: a list of paths belongs in train_dataloader.dataset.list_file")
    try:
        tree = walk(root)
    except OSError as error:
        raise UserError(f"folder {printable(root)} cannot be read: {error.strerror}") from error
    endings = tuple(extension.lower().encode() for extension in extensions)
    found = [path for path in tree.files if path.lower().endswith(endings)]
    if passed_over := left_out_images(tree, map(str.lower, extensions)):
        line = f"image folder {printable(root)}: left out {some(passed_over)}"
        print_log(line, logger="current", level=logging.WARNING)
        if left_out is not None:
            left_out.append(line)
    if not found:
        others = Counter(os.path.splitext(printable(path))[1].lower() or "without extension" for path in tree.files)
        kinds = ", ".join(f"{number} {kind}" for kind, number in others.most_common(5)) or "none"
        raise UserError(
            f"no image in {root}: {others.total()} other files in {len(tree.folders)} folders ({kinds}); "
            f"images end in {' '.join(extensions)} (`extensions` of the data set)"
        )
    return found


def read_list(list_file: str, root: str = "") -> list[bytes]:
    """Read a list of images: one path a line, absolute or relative to `root`.

    Empty lines and lines that begin with # are passed over.

    Returns:
        Paths in the order of the list.

    Raises:
        UserError: the list is missing, is no text, names no image, or names files that do not exist.
    """
    try:
        with open(list_file, "rb") as file:
            lines = file.read().removeprefix(codecs.BOM_UTF8).splitlines()  # some editors begin files with this mark
    except OSError as error:
        raise UserError(f"list file {list_file} cannot be read: {error.strerror}") from error
    top = os.fsencode(root)
    paths, missing = [], []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        if b"\0" in line:
            raise UserError(f"list file {list_file} is no text file (line {number}): expected one image path a line")
        paths.append(line)
        if not os.path.isfile(os.path.join(top, line)):
            missing.append((number, os.fsdecode(os.path.join(top, line))))
    if missing:
        raise UserError(
            f"list file {list_file}: {len(missing)} of {len(paths)} images do not exist, the first is {missing[0][1]} "
            f"(line {missing[0][0]}); paths are absolute or relative to `root` ({root or 'not set'})"
        )
    if not paths:
        raise UserError(f"list file {list_file} names no image: expected one path a line")
    return paths
