"""Where the images of tar shards lie.

Long indices are kept: to read a million headers takes half a minute and as many disk reads.
"""
import contextlib
import hashlib
import io
import logging
import os
import tarfile
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from mimtransfer.datasets.sources.base import EXTENSIONS, member_name
from mimtransfer.datasets.sources.paths import PathTable
from mimtransfer.datasets.sources.remote import cache_folder
from mimtransfer.datasets.tree import printable, some
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically

KEPT_FROM = 1000  # images of a shard; fewer are found in 30 ms
_RULES = 2  # of what counts as an image: an index kept by other rules is not taken
_PARTS = ("bytes", "ends", "offsets", "sizes", "labels")


class Members(NamedTuple):
    """The images of one shard."""

    names: list[bytes]
    offsets: np.ndarray  # [n] int64, of the content in the file
    sizes: np.ndarray  # [n] int64, bytes
    labels: np.ndarray  # [n] int64, of WebDataset's `.cls` members; -1: none
    whole: bool  # the file has its end mark, and no link leads to nothing


def kept_index(path: str, with_labels: bool = False, extensions: Sequence[str] = EXTENSIONS) -> Members:
    """Do as `index_tar`, and keep what is found until the file changes its size or date. Raises: UserError."""
    kept = _place(path, with_labels, extensions)
    if kept is not None and (members := _load(kept, os.path.getsize(path))) is not None:
        return members
    members = index_tar(path, with_labels, extensions)
    if kept is not None and members.whole and len(members.names) >= KEPT_FROM:
        _save(kept, members)
    return members


def _place(path: str, *what: object) -> Path | None:
    try:
        state = os.stat(path)
    except OSError:  # said by `index_tar`
        return None
    key = repr((_RULES, os.path.realpath(path), state.st_size, state.st_mtime_ns, *what))
    return cache_folder() / "tar_index" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npz"


def _load(kept: Path, size: int) -> Members | None:
    try:
        with np.load(kept, allow_pickle=False) as file:
            letters, ends, offsets, sizes, labels = (file[name] for name in _PARTS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # none, or half of one
    if len(ends) != len(offsets) + 1 or (offsets < 0).any() or (offsets + sizes > size).any():
        return None
    names = letters.tobytes()
    places = ends.tolist()
    return Members([names[a:b] for a, b in pairwise(places)], offsets, sizes, labels, True)


def _save(kept: Path, members: Members) -> None:
    table = PathTable(members.names)
    content = io.BytesIO()
    np.savez(content, bytes=table.bytes, ends=table.ends, offsets=members.offsets, sizes=members.sizes,
             labels=members.labels)
    with contextlib.suppress(OSError):  # a home that cannot be written to: found anew each time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, content.getvalue())


def index_tar(path: str, with_labels: bool = False, extensions: Sequence[str] = EXTENSIONS) -> Members:
    """Find the images of a tar file by its headers, in their order. A link is the image that it leads to.

    Raises:
        UserError: it cannot be read, is compressed, is no tar file or is cut short; an image is stored with holes; a
            `.cls` member is no number.
    """
    names: list[bytes] = []
    keys: list[bytes] = []
    offsets: list[int] = []
    sizes: list[int] = []
    labels: dict[bytes, bytes] = {}
    links: dict[int, bytes] = {}
    endings = tuple(ending.encode() for ending in extensions)
    try:
        end = os.stat(path).st_size
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it keeps all, which is a gigabyte for a million
                name = member_name(os.fsencode(member.name))
                if name is None or not (member.isreg() or member.islnk() or member.issym()):
                    continue
                folder, base = os.path.split(name)
                key, _, ending = base.partition(b".")
                is_image = base.lower().endswith(endings)
                if member.issparse() and is_image:
                    raise UserError(f"tar file {printable(path)} stores {printable(name)} with holes: pack it without "
                                    "--sparse")
                if member.isreg() and member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"ends within {printable(name)}")
                if ending.lower() == b"cls" and with_labels and member.isreg() and member.size < 32:
                    content = tar.extractfile(member)
                    assert content is not None, "a regular member"
                    labels[folder + b"/" + key] = content.read().strip()
                elif is_image:
                    if not member.isreg():  # what it leads to may come later
                        target = os.fsencode(member.linkname)
                        links[len(names)] = os.path.normpath(os.path.join(folder, target) if member.issym() else target)
                    names.append(name)
                    keys.append(folder + b"/" + key)
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
            ended = tar.offset < end
            if not ended:
                print_log(f"tar file {printable(path)} ends without its end mark, after {len(names)} images: it may be "
                          "cut short between two of them", logger="current", level=logging.WARNING)
        lost = _follow(links, names, offsets, sizes, keys)
        if lost:
            print_log(f"tar file {printable(path)}: left out {some(lost)}, links to nothing that it holds as an image",
                      logger="current", level=logging.WARNING)
        if wrong := [text for text in labels.values() if not text.isdigit()]:
            raise ValueError(f"{printable(wrong[0])!r}, expected a number from 0 on")
        numbers = [int(labels.get(key, b"-1")) for key in keys]
    except UserError:  # a ValueError
        raise
    except OSError as error:
        raise UserError(f"tar file {printable(path)} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{printable(path)} is no whole tar file ({error}); a compressed one must be unpacked first, "
                        "images are compressed already") from error
    except ValueError as error:
        raise UserError(f"{printable(path)}: a .cls member holds no class number: {error}") from error
    return Members(names, np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(numbers, np.int64),
                   ended and not lost)


def _follow(links: dict[int, bytes], names: list[bytes], offsets: list[int], sizes: list[int],
            keys: list[bytes]) -> list[str]:
    """Give links the places of the images that they lead to, and take out those that lead to none.

    Args:
        links: number of the image -> path in the archive.

    Returns:
        The paths of those that are taken out.
    """
    if not links:  # for a million images the table below takes 100 MB
        return []
    numbers = {name: number for number, name in enumerate(names)}
    lost = []
    for number in links:
        end: int | None = number
        for _ in range(40):  # as many as the system follows
            if end is None or end not in links:
                break
            end = numbers.get(links[end])
        if end is None or end in links:
            lost.append(number)
        else:
            offsets[number], sizes[number] = offsets[end], sizes[end]
    left_out = [printable(names[number]) for number in lost]
    for number in reversed(lost):
        for column in (names, offsets, sizes, keys):
            del column[number]
    return left_out
