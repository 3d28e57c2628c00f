"""Where the images of tar shards lie, kept: to read a million headers takes half a minute and as many disk reads."""
import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mimtransfer.datasets.sources.archives import Members, index_tar
from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.sources.paths import PathTable
from mimtransfer.datasets.sources.remote import cache_folder
from mimtransfer.files import write_atomically

KEPT_FROM = 1000  # images of a shard; fewer are found in 30 ms
_PARTS = ("bytes", "ends", "offsets", "sizes", "labels")


def kept_index(path: str, with_labels: bool = False, extensions: Sequence[str] = EXTENSIONS) -> Members:
    """Do as `index_tar`, and keep what is found until the file changes its size or date. Raises: UserError."""
    kept = _place(path, with_labels, extensions)
    if kept is not None and (members := _load(kept, os.path.getsize(path))) is not None:
        return members
    members = index_tar(path, with_labels, extensions)
    if kept is not None and members.ended and len(members.names) >= KEPT_FROM:
        _save(kept, members)
    return members


def _place(path: str, *what: object) -> Path | None:
    try:
        state = os.stat(path)
    except OSError:  # said by `index_tar`
        return None
    key = repr((os.path.realpath(path), state.st_size, state.st_mtime_ns, *what))
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
