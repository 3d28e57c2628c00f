"""Errors that a user caused and can fix: one line that says what is wrong, where, and how to fix it.

Tools run their `main` inside `clean_exit()` (cli/clean_exit.py), which prints that line. Only the standard library is
imported here: `--help` answers at once.
"""
from __future__ import annotations

import os
import os.path as osp
import re
import stat
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in a config, a file or the data. The message is one line: what is wrong, where, and how to fix it."""


def near_matches(name: str, candidates: Iterable[str], count: int = 3) -> str:
    """Word a suggestion: "did you mean 'a', 'b'?", or "" when nothing is near. Upper and lower case count as equal."""
    import difflib

    by_lower: dict[str, str] = {}
    for candidate in candidates:
        by_lower.setdefault(candidate.lower(), candidate)
    near = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)
    return f"did you mean {', '.join(repr(by_lower[match]) for match in near)}?" if near else ""


def near_files(path: str) -> str:
    """Say what is near a path that does not exist.

    Returns:
        "; did you mean 'epoch_5.pth'?", "; the folder 'work_dirs' does not exist", "; 'runs' is a file, no folder",
        "; it is a link to ...", or "", to be put behind a message.
    """
    path = path.rstrip("/")
    if osp.islink(path):
        return f"; it is a link to {os.readlink(path)!r}, which is not there"
    folder = osp.dirname(path)
    if not osp.isdir(folder or "."):
        there = folder
        while there and not osp.exists(there):
            there = osp.dirname(there)
        if there and not osp.isdir(there):
            return f"; {there!r} is a {what_is(there)}, no folder"
        return f"; the folder {folder!r} does not exist"
    hint = near_matches(osp.basename(path), sorted(os.listdir(folder or ".")))
    return f"; {hint}" if hint else ""


def check_checkpoint_path(path: str | None) -> None:
    """Refuse what no checkpoint can be, before torch is loaded; None passes.

    Raises:
        UserError: an address, or nothing is there.
    """
    if path is not None and re.match(r"\w+://", path):
        raise UserError(f"checkpoint {path!r} is an address: download it first and give the file")
    if path is not None and ("\0" in path or not osp.exists(path)):
        raise UserError(f"checkpoint {path!r}: no such file{near_files(path)}")


def what_is(path: str | os.PathLike) -> str:
    """Say in the user's words what is at a path: "file", "folder", "named pipe", "device", "socket"."""
    mode = os.stat(path).st_mode
    kinds = {"file": stat.S_ISREG, "folder": stat.S_ISDIR, "named pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    return next((kind for kind, holds in kinds.items() if holds(mode)), "device")
