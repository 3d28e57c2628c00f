"""Images in tar shards and zip files, read by their place in the file, without unpacking.

WebDataset's layout is read too: the members of a sample share their name up to the first dot, and `key.cls` holds the
class number. Without it the folders inside the archive are the classes, if every image lies in one.
"""
import os
import threading
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from mimtransfer.datasets.sources.base import (
    EXTENSIONS,
    MAX_BYTES,
    Parts,
    Source,
    check_labels,
    classes_of_folders,
    member_name,
)
from mimtransfer.datasets.sources.paths import PathTable
from mimtransfer.datasets.sources.tar_index import kept_index
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, reason
from mimtransfer.errors import UserError

_RAW = b".ppm"
_ENCRYPTED = 1  # bit of a zip member's flags
_OPEN_FILES = 64  # of the shards; systems allow a process 1024 by default


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
        found = [kept_index(path, with_classes, extensions) for path in self.shards]
        names = [name for members in found for name in members.names]
        if not names:
            raise UserError(f"{self.shards[0]}: no image in {len(self.shards)} tar files; images end in "
                            f"{' '.join(extensions)}")
        self.paths = PathTable(names)
        self._may_be_raw = names[0].lower().endswith(_RAW)  # as all that tools/prepare_data.py writes
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
        return self._read(index, 0, self._size(index))

    def open(self, index: int) -> bytes | Parts:
        if not self._may_be_raw:
            return self.read(index)
        size = self._size(index)
        try:
            left = os.fstat(self._file(int(self.shard[index]))).st_size - int(self.offsets[index])
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        if left < size:  # whichever part is read: an image is whole, or it is not shown
            raise UnreadableImage(f"the shard ends after {max(left, 0)} of its {size} bytes")
        return Parts(partial(self._read, index), size)

    def _size(self, index: int) -> int:
        size = int(self.sizes[index])
        if size > MAX_BYTES:
            raise UnreadableImage(f"{size} bytes")
        return size

    def _read(self, index: int, start: int, stop: int) -> bytes:
        """Return some bytes of an image. It asks for the shard's descriptor, which may have been closed since."""
        try:
            content = os.pread(self._file(int(self.shard[index])), stop - start, int(self.offsets[index]) + start)
        except OSError as error:
            raise UnreadableImage(error.strerror or str(error)) from error
        if len(content) < stop - start:
            raise UnreadableImage(f"the shard ends after {start + len(content)} of its {self.sizes[index]} bytes")
        return content

    def name(self, index: int) -> str:
        return f"{self.shards[self.shard[index]]}/{self.paths[index]}"

    def files(self) -> Iterable[str]:
        return self.shards

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        return self._files[shard]


class ZipSource(Source):
    """Images of a zip file, sorted by their names.

    Raises:
        UserError: it is no whole zip file, holds no image, or is encrypted.
    """

    kind = "zip"

    def __init__(self, path: str, with_classes: bool = False, extensions: Sequence[str] = EXTENSIONS):
        self.path = path
        endings = tuple(extensions)
        try:
            with zipfile.ZipFile(path) as file:
                members = file.infolist()
                found = sorted((name, number) for number, info in enumerate(members)
                               if info.filename.lower().endswith(endings)
                               and (name := member_name(os.fsencode(info.filename))))
        except OSError as error:
            raise UserError(f"zip file {printable(path)} cannot be read: {error.strerror or error}") from error
        except zipfile.BadZipFile as error:
            raise UserError(f"{printable(path)} is no whole zip file ({error})") from error
        if not found:
            raise UserError(f"{printable(path)}: no image in the zip file; images end in {' '.join(extensions)}")
        names, numbers = zip(*found)
        if locked := next((name for name, number in found if members[number].flag_bits & _ENCRYPTED), None):
            raise UserError(f"zip file {printable(path)} is encrypted ({printable(locked)}): unpack it, and name the "
                            "folder")
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
        except (zipfile.BadZipFile, NotImplementedError, *BROKEN) as error:
            raise UnreadableImage(reason(None, error)) from error

    def name(self, index: int) -> str:
        return f"{self.path}/{self.paths[index]}"

    def files(self) -> Iterable[str]:
        return [self.path]

    def _own_file(self) -> zipfile.ZipFile:
        """Return the file, opened in this process: a forked one would share the place where it reads."""
        with self._lock:
            if self._file is None or self._file[0] != os.getpid():
                self._file = os.getpid(), zipfile.ZipFile(self.path)
            return self._file[1]
