"""Which files lie below a folder, and which entries cannot or should not be read: one walk for every kind of data.

A loop of links, a named pipe or a folder without permission must not stop a run, hang it, or be passed over in silence.
"""
import os
from collections.abc import Iterable
from typing import NamedTuple

HIDDEN, LOOP, TWICE = "hidden", "a loop of links", "a second way to a folder"


class LeftOut(NamedTuple):
    """An entry that is not read."""

    path: bytes  # relative to the root
    reason: str


class Tree(NamedTuple):
    """What lies below a folder."""

    files: list[bytes]  # relative to the root, sorted: the same on every machine and in every locale
    left_out: list[LeftOut]
    folders: list[bytes]  # that were listed, the root as an empty name


def walk(root: str | os.PathLike, as_mmseg: bool = False) -> Tree:
    """Find all regular files below a folder, at any depth; links are followed.

    Args:
        as_mmseg: see what mmseg lists: it looks into hidden folders, and into a folder once for each link to it. By
            default hidden entries are left out, and so is a folder that is reached a second time.

    Raises:
        OSError: the root itself cannot be read.
    """
    top = os.fsencode(root)
    files: list[bytes] = []
    left_out: list[LeftOut] = []
    seen: set[tuple[int, int]] = set()
    listed: list[bytes] = []
    todo: list[tuple[bytes, frozenset]] = [(b"", frozenset())]  # folders, each with its closing slash, and those above
    while todo:
        folder, above = todo.pop()
        where = os.path.join(top, folder)
        try:
            status = os.stat(where)
            identity = (status.st_dev, status.st_ino)
            if identity in above or (identity in seen and not as_mmseg):
                left_out.append(LeftOut(folder[:-1], LOOP if identity in above else TWICE))
                continue
            with os.scandir(where) as entries:
                found = [(entry.name, kind_of(entry)) for entry in entries]
        except OSError as error:
            if not folder:
                raise
            left_out.append(LeftOut(folder[:-1], f"cannot be read: {error.strerror}"))
            continue
        seen.add(identity)
        listed.append(folder[:-1])
        folders = []
        for name, kind in found:
            if name.startswith(b".") and not (as_mmseg and kind == "folder"):
                left_out.append(LeftOut(folder + name, HIDDEN))
            elif kind == "folder":
                folders.append(folder + name + b"/")
            elif kind == "file":
                files.append(folder + name)
            else:
                left_out.append(LeftOut(folder + name, kind))
        # Which of two links to a folder comes first must not vary.
        todo += [(name, above | {identity}) for name in sorted(folders, reverse=True)]
    return Tree(sorted(files), sorted(left_out), sorted(listed))


def left_out_images(tree: Tree, endings: Iterable[str]) -> list[str]:
    """Say of each entry that is left out and may hold images what and why; other hidden files concern nobody.

    Args:
        endings: of image files, in lower case.
    """
    ends = tuple(ending.encode() for ending in endings)
    folders = (b".ipynb_checkpoints",)  # the hidden folder that holds copies of images
    return [
        f"{printable(entry.path)} ({entry.reason})"
        for entry in tree.left_out
        if entry.reason != HIDDEN or entry.path.lower().endswith(ends) or entry.path.endswith(folders)
    ]


def printable(path: str | bytes | os.PathLike) -> str:
    """Write a path so that any log takes it: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def some(cases: Iterable[str], count: int = 3) -> str:
    """Name the first of many: "a, b, c ... (7 in all)"."""
    cases = list(cases)
    more = f" ... ({len(cases)} in all)" if len(cases) > count else ""
    return ", ".join(cases[:count]) + more


def kind_of(entry: os.DirEntry) -> str:
    """Return "file" or "folder", of what a link leads to, or else why an entry is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "a link to nothing" if entry.is_symlink() else "no regular file"
    except OSError as error:  # a link to itself
        return f"cannot be read: {error.strerror}"
