"""Read JSON and arrays that a run or a tool has stored, as data that anyone may have written."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_files, what_is

_LARGEST = 256 << 20  # bytes; a record with its curves has some 100 kB
_DEEPEST = 100
_LARGEST_INTEGER = 1 << 63


def parse_json(text: str) -> Any:
    """Parse JSON of plain values.

    Raises:
        ValueError: it is no JSON, nested more than 100 levels deep, or holds an integer of more than 64 bits or half a
            surrogate pair, which no text can be written with.
    """
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep") from None
    _check(value)
    return value


def read_text(path: str | os.PathLike, fix: str, largest: int = _LARGEST) -> str:
    """Read a text file.

    Args:
        fix: what to do about a broken one, for the message.
        largest: bytes that it may have.

    Raises:
        UserError: there is no such file, it cannot be read, is a folder, pipe or device, or is too large.
    """
    try:
        if not Path(path).is_file():
            raise ValueError(f"is a {what_is(path)}, expected a file")
        if os.path.getsize(path) > largest:
            raise ValueError(f"has {os.path.getsize(path):,} bytes, expected at most {largest:,}")
        return Path(path).read_text(encoding="utf-8-sig")  # Windows begins files by a mark of their encoding
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{near_files(str(path))}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {fix}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read ({error}); {fix}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}; {fix}") from error


def read_json(path: str | os.PathLike, fix: str) -> Any:
    """Read a JSON file.

    Args:
        fix: as of `read_text`.

    Raises:
        UserError: as `read_text`, or `parse_json` refuses it.
    """
    text = read_text(path, fix)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {fix}") from error


def read_object(path: str | os.PathLike, fields: Mapping[str, type | tuple[type, ...]], fix: str) -> dict[str, Any]:
    """Read a JSON file that holds an object with given fields; others may be there.

    Args:
        fields: name -> type or types.

    Raises:
        UserError: as `read_json`; it is no object, or a field is missing or of another type.
    """
    value = read_json(path, fix)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, expected an object; {fix}")
    for name, types in fields.items():
        if name not in value:
            raise UserError(f"{path}: field {name!r} is missing; {fix}")
        if not isinstance(value[name], types) or isinstance(value[name], bool):
            raise UserError(f"{path}: field {name!r} is a {type(value[name]).__name__}; {fix}")
    return value


def open_array(
    path: str | Path, what: str, dtype: type, shape: Sequence[int | None], fix: str, absent: str = ""
) -> Any:
    """Map a `.npy` into memory for reading.

    Args:
        what: it is, for the message, e.g. "map bank".
        shape: expected; None for any length.
        fix: what to do about a broken one.
        absent: what to do where there is none; "" for `fix`.

    Raises:
        UserError: there is no such file, it is no file, cut off, no array of numbers, or another dtype or shape.
    """
    import numpy as np  # records are read without

    if not os.path.exists(path):
        raise UserError(f"{what} {path}: no such file; {absent or fix}")
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        raise UserError(f"{what} {path} is a {what_is(path)}, expected a file; {fix}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header fails wherever its first wrong byte leads
        raise UserError(f"{what} {path} cannot be read ({' '.join(str(error).split())[:120]}); {fix}") from error
    fits = array.ndim == len(shape) and all(side in (None, found) for side, found in zip(shape, array.shape))
    if array.dtype != dtype or not fits:
        sides = ", ".join(name if side is None else str(side) for name, side in zip(("images", "h", "w"), shape))
        raise UserError(f"{what} {path}: got an array {list(array.shape)} of {array.dtype}, expected [{sides}] of "
                        f"{np.dtype(dtype)}; {fix}")
    return array


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= _LARGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _check(value: Any) -> None:
    """Look at all values, level by level."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and not item.isascii():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    raise ValueError("a text with half a surrogate pair") from None
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
