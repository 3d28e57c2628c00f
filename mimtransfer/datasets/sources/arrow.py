"""Images in parquet files and in data sets that Hugging Face `datasets` saved to disk.

`datasets` does the reading: it turns parquet into Arrow files once, in its cache, and maps these into memory, so that
an image is found by its number at once and workers share what is read. It is an extra: `pip install
'mimtransfer[datasets]'`.
"""
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mimtransfer.datasets.sources.base import MAX_BYTES, Source, check_labels
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import UserError


class ArrowSource(Source):
    """Images of an Arrow table: a column of `{bytes, path}`, of bytes, or of paths.

    Args:
        table: a `datasets.Dataset`.
        where: its file or folder, for messages; the paths in it are relative to this folder.
        with_classes: read the class numbers of the column `label`, or the only one of class labels.

    Raises:
        UserError: no column of images, or several; no or wrong class numbers.
    """

    def __init__(self, table: Any, where: str, with_classes: bool = False):
        from datasets import ClassLabel, Image, Value

        self.where, self.folder = where, where if os.path.isdir(where) else os.path.dirname(where)
        features = table.features
        columns = [name for name, kind in features.items() if isinstance(kind, Image)]
        binary = [name for name, kind in features.items()
                  if isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")]
        columns = columns or [name for name in ("image", "img", "jpg", "png") if name in features] or binary
        if len(columns) != 1:
            raise UserError(f"{printable(where)}: expected one column of images, got {columns or 'none'} among "
                            f"{', '.join(features)}")
        if table._indices is not None:  # a selection or a shuffle: rows are looked up in another table
            table = table.flatten_indices()
        self.column = table.data.column(columns[0])
        self.ends = np.cumsum([0, *(len(chunk) for chunk in self.column.chunks)])
        if with_classes:
            names = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
            label = "label" if "label" in features else names[0] if len(names) == 1 else None
            if label is None:
                return
            numbers = np.asarray(table.data.column(label).to_numpy())
            if not np.issubdtype(numbers.dtype, np.integer):
                raise UserError(f"{printable(where)}: column {label!r} holds {numbers.dtype}, expected class numbers")
            kind = features[label]
            known = kind.names if isinstance(kind, ClassLabel) else map(str, range(int(numbers.max(initial=-1)) + 1))
            self.classes = tuple(known)
            self.labels = check_labels(numbers, self.classes, printable(where))

    @classmethod
    def of_parquet(cls, files: Sequence[str], with_classes: bool = False) -> "ArrowSource":
        """Read parquet files, in this order. Raises: UserError."""
        datasets = _datasets()
        try:
            table = datasets.load_dataset("parquet", data_files=list(files), split="train")
        except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
            cause = error.__cause__ or error
            raise UserError(f"parquet file {printable(files[0])} cannot be read: {_line(cause)}") from error
        return cls(table, files[0], with_classes)

    @classmethod
    def of_folder(cls, path: str, split: str = "train", with_classes: bool = False) -> "ArrowSource":
        """Read what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote. Raises: UserError."""
        datasets = _datasets()
        try:
            table = datasets.load_from_disk(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"data set {printable(path)} cannot be read: {_line(error)}") from error
        if isinstance(table, datasets.DatasetDict):
            if split not in table:
                raise UserError(f"data set {printable(path)} has no split {split!r}, but {', '.join(table)}: "
                                "set `split` of the data set")
            table = table[split]
        return cls(table, path, with_classes)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, index: int) -> bytes:
        chunk = int(np.searchsorted(self.ends, index, side="right")) - 1
        cell: Any = self.column.chunks[chunk][index - int(self.ends[chunk])]
        path = None
        if hasattr(cell, "keys"):  # {bytes, path}
            cell, path = cell["bytes"], cell["path"].as_py()
        elif isinstance(cell.as_py(), str):
            cell, path = None, cell.as_py()
        buffer = cell.as_buffer() if cell is not None and cell.is_valid else None
        if buffer is not None:
            if buffer.size > MAX_BYTES:
                raise UnreadableImage(f"{buffer.size} bytes")
            return buffer.to_pybytes()
        if not path:
            raise UnreadableImage("the cell is empty")
        if os.path.isabs(path) or ".." in path.split("/"):
            raise UnreadableImage(f"its path {printable(path)!r} leads out of the folder of the data set")
        return read_regular(os.path.join(self.folder, path))

    def name(self, index: int) -> str:
        return f"{self.where}[{index}]"


def _datasets():
    try:
        import datasets
    except ImportError as error:
        raise UserError("parquet files and Hugging Face data sets need `datasets`: "
                        "pip install 'mimtransfer[datasets]'") from error
    datasets.disable_progress_bars()
    return datasets


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
