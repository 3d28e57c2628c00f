"""Digests of the data that a config reads, cached, so that they cost nothing while the files stay as they are.

Annotation and list files are digested by content, folders of images by the names and sizes below them. A cached
digest of a folder holds while no file was added or removed (the times of all folders below it) and a sample of its
files keeps size and time; an edit of one picture in place, at the same size, is not seen.
"""
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mimtransfer.files import sha256_file
from mimtransfer.suites.stat_cache import StatCache

_FILE_KEYS = ("ann_file", "list_file", "proposal_file", "file_list")
_SAMPLE = 64  # files of a folder whose size and time are looked at
_WHOLE = 1 << 28  # bytes up to which a file is read whole: an archive of ImageNet would take minutes


def data_inputs(config: Mapping, evaluated: str, cache: StatCache) -> dict[str, str]:
    """Return the digests of what the training and evaluation loaders of a config read.

    Args:
        config: resolved.
        evaluated: `val` or `test`.

    Returns:
        path as in the config -> sha256, 16 digits; a path that does not exist -> "missing".
    """
    loaders = [config.get("train_dataloader"), config.get(f"{evaluated}_dataloader")]
    loaders.append((config.get("test_cfg") or {}).get("memory_dataloader"))
    places = {path for loader in loaders for dataset in _datasets(loader or {}) for path in _places(dataset)}
    return {path: path_digest(path, cache) for path in sorted(places)}


def path_digest(path: str, cache: StatCache) -> str:
    """Return the digest of a file or folder."""
    place = Path(path).expanduser()
    if place.is_dir():
        return cache.get(f"data {path}", lambda: _folder(place))
    if place.is_file():
        return cache.get(f"data {path}", lambda: (_file(place), [place]))
    return "missing"


def _datasets(value: Any) -> Iterator[Mapping]:
    """Find the innermost data sets: of a loader, RepeatDataset, ConcatDataset and their like."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _datasets(item)
    elif isinstance(value, Mapping):
        inner = [value[key] for key in ("dataset", "datasets") if value.get(key)]
        if inner:
            yield from _datasets(inner)
        else:
            yield value


def _places(dataset: Mapping) -> Iterator[str]:
    root = str(dataset.get("data_root") or "")
    for key in _FILE_KEYS:
        if isinstance(dataset.get(key), str) and dataset[key]:
            yield os.path.join(root, dataset[key])
    prefix = dataset.get("data_prefix")
    if isinstance(prefix, Mapping):
        yield from (os.path.join(root, str(item)) for item in prefix.values() if item and "://" not in str(item))
    elif root:
        yield root
    for path in dataset["root"] if isinstance(dataset.get("root"), list | tuple) else [dataset.get("root")]:
        if path:
            yield str(path)


def _file(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE:
        return sha256_file(path)[:16]
    with open(path, "rb") as file:
        ends = file.read(1 << 20)
        file.seek(-(1 << 20), os.SEEK_END)
        ends += file.read()
    return hashlib.sha256(f"{size} ".encode() + ends).hexdigest()[:16]


def _folder(folder: Path) -> tuple[str, list[Path]]:
    folders, files = [], []
    for where, _, names in os.walk(folder):
        folders.append(Path(where))
        files += [Path(where, name) for name in names]
    files.sort()
    lines = (f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n" for path in files)
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()[:16], folders + files[:: max(1, len(files) // _SAMPLE)]
