"""Explain a file that cannot be written: disk full, read-only, no such device. Used by `explain`."""
from __future__ import annotations

import errno
import os
import os.path as osp
from types import FrameType

from mimtransfer import interruption

# What a file system answers to a program that does nothing wrong.
_OF_THE_PLACE = frozenset(getattr(errno, name) for name in (
    "ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EEXIST", "EIO", "ENAMETOOLONG", "ELOOP", "EMFILE", "ENFILE", "ESTALE",
    "ENXIO", "EBUSY", "ETXTBSY", "EINVAL") if hasattr(errno, name))
_PATH_NAMES = ("filepath", "path", "filename", "file", "temporary", "part")


def failed_write(error: Exception, message: str, frames: list[FrameType]) -> str | None:
    """Explain a full, read-only or broken place: which file, and what is still there."""
    if not isinstance(error, OSError) or error.errno not in _OF_THE_PLACE:
        return None
    path = error.filename if isinstance(error.filename, str) else _path_in(frames)
    if path is None and error.errno == errno.EINVAL:
        return None  # of a socket or a device
    line = f"{path}: {error.strerror}" if path else f"{error.strerror} while a file was written"
    checkpoint = interruption.last_checkpoint()
    if checkpoint is not None:
        line += f"; {checkpoint} is whole: make room, or fix the place, then go on with --resume"
    elif error.errno == errno.EEXIST:
        line += "; move it away, or choose another folder"
    else:
        line += "; make room, or choose another folder"
    return line


def _path_in(frames: list[FrameType]) -> str | None:
    """Return the file that the innermost function of a traceback works on: an error of `write` names none."""
    for frame in reversed(frames):
        for name in _PATH_NAMES:
            value = frame.f_locals.get(name)
            value = getattr(value, "name", value)
            if isinstance(value, (str, os.PathLike)) and osp.sep in os.fspath(value):
                return os.fspath(value)
    return None
