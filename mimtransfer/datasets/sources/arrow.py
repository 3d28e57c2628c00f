"""Images in parquet files and in data sets that Hugging Face `datasets` saved to disk.

`datasets` does the reading: it turns parquet into Arrow files once, in its cache, and maps these into memory, so that
an image is found by its number at once and workers share what is read. It is an extra: `pip install
'mimtransfer[datasets]'`.
"""
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mimtransfer.datasets.sources.base import MAX_BYTES, Source, check_labels
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import UserError

_END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream


class ArrowSource(Source):
    """Images of an Arrow table: a column of `{bytes, path}`, of bytes, or of paths.

    Args:
        table: a `datasets.Dataset`.
        where: its file or folder, for messages; the paths in it are relative to this folder.
        kind: see `Source`.
        with_classes: read the class numbers of the column `label`, or the only one of class labels.

    Raises:
        UserError: no column of images, or several; no or wrong class numbers.
    """

    def __init__(self, table: Any, where: str, with_classes: bool = False, kind: str = "Hugging Face data set"):
        from datasets import ClassLabel, Image, Value

        self.kind = kind
        self._files = [part["filename"] for part in table.cache_files]
        self.parts, self.starts = [where], np.zeros(1, np.int64)  # files, the numbers of their first images
        self.where, self.folder = where, where if os.path.isdir(where) else os.path.dirname(where)
        features = table.features
        columns = [name for name, kind in features.items() if isinstance(kind, Image)]
        binary = [name for name, kind in features.items()
                  if isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")]
        columns = columns or [name for name in ("image", "img", "jpg", "png") if name in features] or binary
        if len(columns) != 1:
            raise UserError(f"{printable(where)}: expected one column of images, got {columns or 'none'} among "
                            f"{', '.join(features)}")
        if not len(table):
            raise UserError(f"{printable(where)}: no image in it")
        if table._indices is not None:  # a selection or a shuffle: rows are looked up in another table
            table = table.flatten_indices()
        self.column = table.data.column(columns[0])
        fields = _fields(self.column.type)
        if fields is None:
            raise UserError(f"{printable(where)}: column {columns[0]!r} holds {self.column.type}, expected image files "
                            "or their paths")
        self.fields: list[str] = fields
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
        print_log(f"{printable(files[0])}: {len(files)} parquet files, turned into Arrow files in "
                  f"{datasets.config.HF_DATASETS_CACHE} where they are not there yet", logger="current")
        said = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity(logging.CRITICAL)  # it would log the error that is raised, in lines of its own
        try:
            rows = {file: count for file in files if (count := _rows(file))}  # `datasets` refuses a file without any
            if not rows:
                raise UserError(f"{printable(files[0])}: no image in it")
            table = datasets.load_dataset("parquet", data_files=list(rows), split="train")
        except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
            if isinstance(error, UserError):
                raise
            cause = error.__cause__ or error
            raise UserError(f"parquet file {printable(_damaged(files))} cannot be read: {_line(cause)}") from error
        finally:
            datasets.logging.set_verbosity(said)
        source = cls(table, files[0], with_classes, "parquet")
        source._files = list(files)
        source.parts, source.starts = list(rows), np.cumsum([0, *rows.values()])
        return source

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
        for part in table.cache_files:
            _check_end(part["filename"], path)
        return cls(table, path, with_classes)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, index: int) -> bytes:
        content, path = self._cell(index)
        if content is not None:
            if content.size > MAX_BYTES:
                raise UnreadableImage(f"{content.size} bytes")
            return content.to_pybytes()
        if not path:
            raise UnreadableImage("the cell is empty")
        if os.path.isabs(path) or ".." in path.split("/"):
            raise UnreadableImage(f"its path {printable(path)!r} leads out of the folder of the data set")
        return read_regular(os.path.join(self.folder, path))

    def _cell(self, index: int) -> tuple[Any, str | None]:
        """Return the bytes of a row, as a buffer, and the path; None for what is not there."""
        number = int(np.searchsorted(self.ends, index, side="right")) - 1
        # Not `chunks`, which makes a list of all: 3 ms for a data set of 200,000 images.
        cell = self.column.chunk(number).slice(index - int(self.ends[number]), 1)
        found: dict[str, Any] = {}
        for name, values in zip(self.fields, cell.flatten() if hasattr(cell, "field") else [cell]):  # {bytes, path}
            try:
                values.validate(full=True)  # places that a damaged file makes up would end the process
            except ValueError as error:
                raise UnreadableImage(f"the table is damaged here: {_line(error)}") from error
            if name and values[0].is_valid:
                found[name] = values[0].as_py() if name == "path" else values[0].as_buffer()
        return found.get("bytes"), found.get("path")

    def files(self) -> list[str]:
        return self._files

    def name(self, index: int) -> str:
        part = int(np.searchsorted(self.starts[: len(self.parts)], index, side="right")) - 1
        return f"{self.parts[part]}[{index - int(self.starts[part])}]"


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


def _fields(kind: Any) -> list[str] | None:
    """Return what the parts of a cell are, `bytes`, `path` or neither (``), or None for a column of something else."""
    from pyarrow import types

    checks = {
        "bytes": lambda kind: types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind),
        "path": lambda kind: types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind),
    }
    if not types.is_struct(kind):
        return next(([name] for name, check in checks.items() if check(kind)), None)
    known = [part for part in kind if part.name in checks]
    if not known or not all(checks[part.name](part.type) for part in known):
        return None
    return [part.name if part in known else "" for part in kind]


def _rows(file: str) -> int:
    from pyarrow.parquet import read_metadata

    return read_metadata(file).num_rows


def _damaged(files: Sequence[str]) -> str:
    """Return the first of the parquet files that cannot be read, which `datasets` does not say."""
    from pyarrow.parquet import ParquetFile

    for file in files:
        try:
            with ParquetFile(file) as parts:
                for _ in parts.iter_batches():
                    pass
        except (OSError, ValueError):
            return file
    return files[0]


def _check_end(file: str, where: str) -> None:
    """Refuse an Arrow file without the mark that ends it: one cut between two of its batches reads as a shorter one."""
    with open(file, "rb") as content:
        content.seek(max(0, os.path.getsize(file) - len(_END)))
        if content.read() != _END:
            raise UserError(f"data set {printable(where)} cannot be read: {os.path.basename(file)} is cut short; copy "
                            "it again")
