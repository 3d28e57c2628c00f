"""Names of classes from a list or a file: what counts as one."""
from __future__ import annotations

from collections import Counter
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.stored import read_text


def check_names(names: Any, where: str) -> tuple[str, ...]:
    """Return class names in their order; numbers, which YAML makes of some names, become their text.

    Raises:
        UserError: it is no list of names, or a name is empty or occurs twice.
    """
    fix = "write each class once, in the order of its number"
    if not isinstance(names, list | tuple) or not names:
        raise UserError(f"{where}: 'names' is {str(names)[:60]!r}, expected a list of class names; {fix}")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int | float) or not str(name).strip():
            raise UserError(f"{where}: {name!r} is no class name; {fix}, in quotes")
    found = tuple(str(name).strip() for name in names)
    twice = sorted(name for name, count in Counter(found).items() if count > 1)
    if twice:
        raise UserError(f"{where}: the class {twice[0][:60]!r} occurs twice; {fix}")
    return found


def read_names(path: str) -> tuple[str, ...]:
    """Read a file with a class name a line.

    Raises:
        UserError: as `check_names`.
    """
    lines = [line.strip() for line in read_text(path, "write a class name a line", 1 << 20).splitlines()]
    return check_names([line for line in lines if line], path)
