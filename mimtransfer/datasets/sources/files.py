"""Images that are files of their own: folders at any depth, and lists of paths."""
import os
from collections.abc import Iterable, Sequence

from mimtransfer.datasets.sources.base import EXTENSIONS, Source, classes_of_folders
from mimtransfer.datasets.sources.paths import PathTable, find_images, read_list
from mimtransfer.datasets.unreadable import read_regular


class FileSource(Source):
    """Image files.

    Args:
        paths: relative to `root`, or absolute.
        root: folder.
        with_classes: take the folders of the images for their classes, where each lies in one.
        kind: see `Source`.
    """

    def __init__(self, paths: Sequence[bytes], root: str = "", with_classes: bool = False, kind: str = "folder"):
        self.root, self.kind = root, kind
        self.paths = PathTable(paths)
        if with_classes and (found := classes_of_folders(paths)):
            self.classes, self.labels = found

    @classmethod
    def of_folder(cls, root: str, extensions: Iterable[str] = EXTENSIONS, with_classes: bool = False) -> "FileSource":
        """Take every image below a folder. Raises: UserError, see `find_images`."""
        return cls(find_images(root, extensions), root, with_classes)

    @classmethod
    def of_list(cls, list_file: str, with_classes: bool = False) -> "FileSource":
        """Take the images of a list: a path a line, absolute or relative to the list's folder. Raises: UserError."""
        root = os.path.dirname(os.path.abspath(list_file))
        return cls(read_list(list_file, root), root, with_classes, "list")

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> bytes:
        return read_regular(self.name(index))

    def name(self, index: int) -> str:
        return os.path.join(self.root, self.paths[index])

    def files(self) -> Iterable[str]:
        return map(self.name, range(len(self)))
