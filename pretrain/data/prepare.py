"""Write a source of images once more in the form that is read fastest: upright RGB, reduced, in tar shards.

Image i of the result is image i of the source, without those that cannot be read. A shard appears under its name when
it is whole, so a run that was killed goes on with the next one; the same source and options give the same bytes.
Tar shards, because WebDataset, torchdata, tar itself and `TarSource` read them, and one read at a known place is all
that an image costs.
"""
import hashlib
import io
import json
import multiprocessing
import os
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from mimtransfer.datasets.sources.base import Source
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.tree import printable
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file, write_atomically
from pretrain.data.decoding import StoredImage, UnreadableImage

_ENDINGS = {"jpeg": "jpg", "webp": "webp", "raw": "ppm"}
_MANIFEST = "prepared.json"
_WAIT = 5  # seconds for another run in the folder to end: the workers of one that was killed may still be ending


@dataclass(frozen=True)
class Preparation:
    """How images are written.

    Args:
        short_side: larger images are reduced to it, in pixels; smaller ones keep their size.
        format: jpeg, webp, or raw (binary PPM: uint8 RGB, the largest and the fastest to read).
        quality: of jpeg and webp, 1 to 100.
        images_per_shard: images of a tar file.

    Raises:
        UserError: a value out of its range.
    """

    short_side: int = 256
    format: str = "jpeg"
    quality: int = 90
    images_per_shard: int = 2000

    def __post_init__(self):
        if self.format not in _ENDINGS:
            raise UserError(f"--format {self.format!r}: expected one of {', '.join(_ENDINGS)}")
        for name, low, high in (("short_side", 1, 65500), ("quality", 1, 100), ("images_per_shard", 1, 10**7)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected {low} to {high}")


def prepare(
    source: str, folder: str, how: Preparation, workers: int, max_corrupt: int, split: str = "train",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Write all shards that are not there yet, and then the manifest `prepared.json`.

    Args:
        source: what `open_source` reads.
        folder: gets `NNNNN.tar` files; made if need be.
        how: size and format.
        workers: processes.
        max_corrupt: so many unreadable images are left out.
        split: of a saved `DatasetDict`.
        progress: called with the images that are done, and all.

    Returns:
        The manifest: what was asked for, images, bytes and sha256 of each shard and of all, and the images that cannot
        be read, with the reason of each.

    Raises:
        UserError: the folder holds something else, another run is filling it, or too many images cannot be read.
    """
    images = open_source(source, with_classes=True, split=split)
    top = Path(folder)
    top.mkdir(parents=True, exist_ok=True)
    asked = dict(asdict(how), source=os.path.abspath(source) if "://" not in source else source, split=split,
                 images_of_source=len(images), source_state=_state_of(images, with_dates="://" not in source))
    _check_folder(top, asked)
    try:
        with FileLock(top / ".lock", timeout=_WAIT):
            return _fill(top, images, asked, how, workers, max_corrupt, progress)
    except Timeout as error:
        raise UserError(f"folder {printable(top)} is being filled by another run: wait until it has ended") from error


def _fill(
    top: Path, images: Source, asked: dict, how: Preparation, workers: int, max_corrupt: int,
    progress: Callable[[int, int], None],
) -> dict:
    """Do what `prepare` does, in a folder that no other run writes to."""
    starts = range(0, len(images), how.images_per_shard)
    done = {start: found for start in starts if (found := _note_of(top, start, how)) is not None}
    todo = [start for start in starts if start not in done]
    progress(sum(note["seen"] for note in done.values()), len(images))
    folders = _are_folders(images)
    # A process inherits the index of the source: it is not built or sent again for each shard.
    global _SOURCE
    _SOURCE = images
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(min(workers, len(todo)) or 1, context, _end_with_parent) as pool:
            jobs = {pool.submit(_write_shard, top, start, how, folders): start for start in todo}
            try:
                for job in as_completed(jobs):
                    done[jobs[job]] = job.result()
                    unreadable = [line for note in done.values() for line in note["unreadable"]]
                    if len(unreadable) > max_corrupt:
                        raise UserError(f"more than --max-corrupt {max_corrupt} images cannot be read, one is "
                                        f"{unreadable[-1]}; repair or remove them, or raise the limit")
                    progress(sum(note["seen"] for note in done.values()), len(images))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        _SOURCE = None
    shards = {f"{start // how.images_per_shard:05d}.tar": done[start] for start in starts}
    whole = hashlib.sha256("".join(note["sha256"] for note in shards.values()).encode()).hexdigest()
    manifest = dict(
        asked=asked, images=sum(note["images"] for note in shards.values()), sha256=whole,
        bytes=sum(note["bytes"] for note in shards.values()),
        unreadable=[line for note in shards.values() for line in note["unreadable"]],
        shards={name: {key: note[key] for key in ("images", "bytes", "sha256")} for name, note in shards.items()},
    )
    write_atomically(top / _MANIFEST, json.dumps(manifest, indent=1))
    return manifest


_SOURCE: Source | None = None  # of this process and of those that it forks


def _check_folder(top: Path, asked: dict) -> None:
    """Refuse a folder that was, or is being, filled from another source or in another way."""
    request = top / ".request.json"
    if not request.exists():
        if others := sorted(path.name for path in top.iterdir()):
            raise UserError(f"folder {printable(top)} is not empty ({printable(others[0])}): name a new one")
        write_atomically(request, json.dumps(asked))
        return
    try:
        before = json.loads(request.read_text())
    except ValueError:
        before = None
    if before != asked:
        keys = [key for key in asked if not isinstance(before, dict) or before.get(key) != asked[key]]
        if keys == ["source_state"]:
            raise UserError(f"images have changed since folder {printable(top)} was begun "
                            "(size or date of a file): name a new folder, or remove it")
        raise UserError(f"folder {printable(top)} was begun with another {', '.join(keys)}: name a new folder, or "
                        "remove it")


def _state_of(source: Source, with_dates: bool) -> str:
    """Return a digest that changes with the sizes or dates of the files; dates of fetched copies say nothing.

    It looks at each file: 4 s of CPU time for a million images, which take core-hours to prepare.
    """
    digest = hashlib.sha256()
    for path in source.files():
        try:
            status = os.stat(path)
            seen = (os.path.basename(path), status.st_size, status.st_mtime_ns if with_dates else 0)
        except OSError:  # named when it is read
            seen = (os.path.basename(path), -1, 0)
        digest.update(repr(seen).encode())
    return digest.hexdigest()


def _note_of(top: Path, start: int, how: Preparation) -> dict | None:
    """Return the note of a shard that is whole, as far as its size says; a shard of another size is written again."""
    number = start // how.images_per_shard
    try:
        note = json.loads((top / f".{number:05d}.json").read_text())
        return note if (top / f"{number:05d}.tar").stat().st_size == note["bytes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _end_with_parent() -> None:
    """Let this worker end when its parent was killed: it would wait for work for ever, or write beside the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _are_folders(source: Source) -> bool:
    """Return whether folders can be the classes: their order gives the class numbers. Else WebDataset's `.cls` are."""
    return (
        source.labels is not None
        and list(source.classes) == sorted(set(source.classes))
        and len(np.unique(source.labels)) == len(source.classes)  # else numbers would move up
        and not any("/" in name or name.startswith(".") or not name for name in source.classes)
    )


def _write_shard(top: Path, start: int, how: Preparation, folders: bool) -> dict:
    """Write one shard and the note beside it; return the note. `folders`: see `_are_folders`."""
    source = _SOURCE
    assert source is not None
    number = start // how.images_per_shard
    end = min(start + how.images_per_shard, len(source))
    unreadable, written = [], 0
    part = top / f".{number:05d}.part"
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        for index in range(start, end):
            try:
                content = encode(source.read(index), how)
            except UnreadableImage as error:
                unreadable.append(f"{printable(source.name(index))} ({error})")
                continue
            key = f"{index:09d}"
            if source.labels is not None:
                label = int(source.labels[index])
                if folders:
                    key = f"{source.classes[label]}/{key}"
                else:
                    _add(tar, f"{key}.cls", str(label).encode())
            _add(tar, f"{key}.{_ENDINGS[how.format]}", content)
            written += 1
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    note = dict(seen=end - start, images=written, bytes=part.stat().st_size, sha256=sha256_file(part),
                unreadable=unreadable)
    os.replace(part, top / f"{number:05d}.tar")
    write_atomically(top / f".{number:05d}.json", json.dumps(note))
    return note


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, owner or rights of this machine
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def encode(content: bytes, how: Preparation) -> bytes:
    """Turn an image file into one that is upright, in RGB, reduced and of the format asked for.

    A JPEG file that is all this already is kept as it is: coding it again would cost quality.

    Raises:
        UnreadableImage: it cannot be decoded, or is too long for the format.
    """
    image = StoredImage(content)
    height, width = image.height, image.width
    scale = min(1.0, how.short_side / min(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = image.crop((0, 0, height, width), size, Image.Resampling.LANCZOS)
    if how.format == "jpeg" and scale == 1.0 and image.is_plain_jpeg:
        return content
    if how.format == "raw":
        return b"P6\n%d %d\n255\n" % (size[1], size[0]) + pixels.tobytes()
    buffer = io.BytesIO()
    try:
        pixels.save(buffer, how.format.upper(), quality=how.quality)
    except (OSError, ValueError) as error:  # WebP has 16383 pixels a side at most, JPEG 65535
        raise UnreadableImage(f"{size[1]} x {size[0]} pixels cannot be written: {error}") from error
    return buffer.getvalue()
