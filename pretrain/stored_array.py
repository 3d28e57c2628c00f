"""Arrays that a run or a tool stored as `.npy`, mapped into memory and checked first: anyone may have written them."""
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimtransfer.errors import UserError, what_is


def open_array(
    path: str | Path, what: str, dtype: type[np.generic], shape: Sequence[int | None], mend: str, absent: str = ""
) -> np.memmap:
    """Map an array into memory for reading.

    Args:
        what: it is, for the message, e.g. "map bank".
        shape: expected; None for any length.
        mend: what to do about a broken one.
        absent: what to do where there is none; "" for `mend`.

    Raises:
        UserError: there is no such file, it is no file, cut off, no array of numbers, or another dtype or shape.
    """
    if not os.path.exists(path):
        raise UserError(f"{what} {path}: no such file; {absent or mend}")
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        raise UserError(f"{what} {path} is a {what_is(path)}, expected a file; {mend}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header fails wherever its first wrong byte leads
        raise UserError(f"{what} {path} cannot be read ({' '.join(str(error).split())[:120]}); {mend}") from error
    fits = array.ndim == len(shape) and all(side in (None, found) for side, found in zip(shape, array.shape))
    if array.dtype != dtype or not fits:
        sides = ", ".join(name if side is None else str(side) for name, side in zip(("images", "h", "w"), shape))
        raise UserError(f"{what} {path}: got an array {list(array.shape)} of {array.dtype}, expected [{sides}] of "
                        f"{np.dtype(dtype)}; {mend}")
    return array
