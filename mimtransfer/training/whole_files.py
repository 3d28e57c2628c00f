"""Checkpoint files that are whole or not there: written beside their place, then renamed."""
from __future__ import annotations

import contextlib
import os
import os.path as osp
from collections.abc import Iterator
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.errors import UserError

PART = ".part"  # what a killed save leaves; removed at the next start


@register_backend("mimtransfer.whole_files")
class WholeFiles(LocalBackend):
    """Files of this machine, each written beside its place and then renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file in a single step."""
        os.makedirs(osp.dirname(filepath) or ".", exist_ok=True)
        with published(filepath) as part, open(part, "wb") as file:
            file.write(obj)


@contextlib.contextmanager
def published(path: str | os.PathLike) -> Iterator[str]:
    """Yield a name beside `path` to write to; what lies there at the end takes the place of `path` in a single step."""
    folder, name = osp.split(os.fspath(path))
    part = osp.join(folder, f".{name}{PART}")
    try:
        yield part
        if not osp.exists(part):  # another process writes
            return
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # a crash of the machine must not leave an empty file behind the new name
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


@contextlib.contextmanager
def one_line(path: str, work_dir: str) -> Iterator[None]:
    """Turn an OSError of a save into a line that says what is still intact.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        newest = newest_checkpoint(work_dir)
        intact = f"{newest} is whole" if newest else "no checkpoint was saved before"
        raise UserError(f"{error.filename or path} cannot be written ({error.strerror or error}); {intact}: make room, "
                        "or fix the place, then go on with --resume") from error
