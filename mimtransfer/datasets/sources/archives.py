"""Images in tar shards and zip files, read by their place in the file, without unpacking.

WebDataset's layout is read too: the members of a sample share their name up to the first dot, and `key.cls` holds the
class number. Without it the folders inside the archive are the classes, if every image lies in one.
"""
import logging
import os
import tarfile
import threading
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.logging import print_log

from mimtransfer.datasets.sources.base import EXTENSIONS, MAX_BYTES, Source, check_labels, classes_of_folders
from mimtransfer.datasets.sources.paths import PathTable
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, reason
from mimtransfer.errors import UserError

_OPEN_FILES = 64  # of the shards; systems allow a process 1024 by default


class Members(NamedTuple):
    """The images of one shard."""

    names: list[bytes]
    offsets: np.ndarray  # [n] int64, of the content in the file
    sizes: np.ndarray  # [n] int64, bytes
    labels: np.ndarray  # [n] int64, of WebDataset's `.cls` members; -1: none
    ended: bool  # the file has its end mark


class TarSource(Source):
    """Images of tar files that are not compressed, in the order in which they lie in them.

    Args:
        shards: the files, in order.
        with_classes: read the class numbers.
        extensions: endings of image files.

    Raises:
        UserError: a shard is no tar file, is cut short or compressed, or there is no image in any.
    """

    kind = "tar"

    def __init__(self, shards: Sequence[str], with_classes: bool = False, extensions: Sequence[str] = EXTENSIONS):
        self.shards = list(shards)
        from mimtransfer.datasets.sources.tar_index import kept_index

        found = [kept_index(path, with_classes, extensions) for path in self.shards]
        names = [name for members in found for name in members.names]
        if not names:
            raise UserError(f"{self.shards[0]}: no image in {len(self.shards)} tar files; images end in "
                            f"{' '.join(extensions)}")
        self.paths = PathTable(names)
        self.shard = np.repeat(np.arange(len(found), dtype=np.int32), [len(members.names) for members in found])
        self.offsets = np.concatenate([members.offsets for members in found])
        self.sizes = np.concatenate([members.sizes for members in found])
        self._files: dict[int, int] = {}  # shard -> descriptor; read by position, so forked workers may share it
        if with_classes:
            labels = np.concatenate([members.labels for members in found])
            if (labels >= 0).all():
                self.classes = tuple(map(str, range(int(labels.max()) + 1)))
                self.labels = check_labels(labels, self.classes, self.shards[0])
            elif (labels >= 0).any():
                lonely = int(np.flatnonzero(labels < 0)[0])
                raise UserError(f"{self.name(lonely)} has no .cls member, but other images have")
            elif folders := classes_of_folders(names):
                self.classes, self.labels = folders

    def __len__(self) -> int:
        return len(self.sizes)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_files": {}}  # a spawned worker opens its own

    def read(self, index: int) -> bytes:
        size = int(self.sizes[index])
        if size > MAX_BYTES:
            raise UnreadableImage(f"{size} bytes")
        try:
            content = os.pread(self._file(int(self.shard[index])), size, int(self.offsets[index]))
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        if len(content) < size:
            raise UnreadableImage(f"the shard ends after {len(content)} of its {size} bytes")
        return content

    def name(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}/{self.paths[index]}"

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        return self._files[shard]


def index_tar(path: str, with_labels: bool = False, extensions: Sequence[str] = EXTENSIONS) -> Members:
    """Find the images of a tar file by its headers.

    Raises:
        UserError: it cannot be read, is compressed, is no tar file or is cut short; a `.cls` member is no number.
    """
    names, offsets, sizes, keys, labels = [], [], [], [], {}
    endings = tuple(ending.encode() for ending in extensions)
    try:
        end = os.stat(path).st_size
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it keeps all, which is a gigabyte for a million
                name = os.fsencode(member.name)
                folder, base = os.path.split(name)
                key, _, ending = base.partition(b".")
                if not member.isreg() or base.startswith(b"."):
                    continue
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"ends within {printable(name)}")
                if ending.lower() == b"cls" and with_labels and member.size < 32:
                    content = tar.extractfile(member)
                    assert content is not None, "a regular member"
                    labels[folder + b"/" + key] = content.read().strip()
                elif base.lower().endswith(endings):
                    names.append(name)
                    keys.append(folder + b"/" + key)
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
            ended = tar.offset < end
            if not ended:
                print_log(f"tar file {printable(path)} ends without its end mark, after {len(names)} images: it may be "
                          "cut short between two of them", logger="current", level=logging.WARNING)
        if wrong := [text for text in labels.values() if not text.isdigit()]:
            raise ValueError(f"{printable(wrong[0])!r}, expected a number from 0 on")
        numbers = [int(labels.get(key, b"-1")) for key in keys]
    except OSError as error:
        raise UserError(f"tar file {printable(path)} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{printable(path)} is no whole tar file ({error}); a compressed one must be unpacked first, "
                        "images are compressed already") from error
    except ValueError as error:
        raise UserError(f"{printable(path)}: a .cls member holds no class number: {error}") from error
    return Members(names, np.array(offsets, np.int64), np.array(sizes, np.int64), np.array(numbers, np.int64),
                   ended)


class ZipSource(Source):
    """Images of a zip file, sorted by their names.

    Raises:
        UserError: it is no whole zip file, or holds no image.
    """

    kind = "zip"

    def __init__(self, path: str, with_classes: bool = False, extensions: Sequence[str] = EXTENSIONS):
        self.path = path
        endings = tuple(extensions)
        try:
            with zipfile.ZipFile(path) as file:
                found = sorted((os.fsencode(info.filename), number) for number, info in enumerate(file.infolist())
                               if info.filename.lower().endswith(endings)
                               and not os.path.basename(info.filename).startswith("."))
        except OSError as error:
            raise UserError(f"zip file {printable(path)} cannot be read: {error.strerror or error}") from error
        except zipfile.BadZipFile as error:
            raise UserError(f"{printable(path)} is no whole zip file ({error})") from error
        if not found:
            raise UserError(f"{printable(path)}: no image in the zip file; images end in {' '.join(extensions)}")
        names, numbers = zip(*found)
        self.paths = PathTable(names)
        self.numbers = np.array(numbers)
        self._file: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()
        if with_classes and (folders := classes_of_folders(names)):
            self.classes, self.labels = folders

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_file", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state | {"_file": None, "_lock": threading.Lock()}

    def read(self, index: int) -> bytes:
        try:
            file = self._own_file()
            info = file.infolist()[self.numbers[index]]
            if info.file_size > MAX_BYTES:
                raise UnreadableImage(f"{info.file_size} bytes")
            return file.read(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *BROKEN) as error:  # RuntimeError: encrypted
            raise UnreadableImage(reason(None, error)) from error

    def name(self, index: int) -> str:
        return f"{self.path}/{self.paths[index]}"

    def _own_file(self) -> zipfile.ZipFile:
        """Return the file, opened in this process: a forked one would share the place where it reads."""
        with self._lock:
            if self._file is None or self._file[0] != os.getpid():
                self._file = os.getpid(), zipfile.ZipFile(self.path)
            return self._file[1]
