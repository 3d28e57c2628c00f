"""Find a config by what a user writes: a path, a short name, or `mimtransfer::...` as in `_base_`."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mimtransfer.errors import UserError, near_files, near_matches
from mimtransfer.shipped.places import shipped

PREFIX = "mimtransfer::"
_SUITES = "suites"


def leaves(suites: bool | None = None) -> Iterator[Path]:
    """Yield the configs that can be run, in order: all files but those of `_base_`.

    Args:
        suites: True for suites only, False for all others, None for both.
    """
    top = shipped("configs")
    for path in sorted(top.rglob("*.py")):
        folder = path.relative_to(top).parts[0]
        if folder != "_base_" and suites in (None, folder == _SUITES):
            yield path


def locate(name: str | os.PathLike, suites: bool = False) -> str | None:
    """Return the file that a name stands for, or None.

    A file that is there stands for itself. Next come names of the configs that are shipped: below `configs/`, or of the
    file alone; `.py` may be left out. `mimtransfer::` looks there only, also for what others are put together from.

    Args:
        suites: short names are those of suites; otherwise those of all others.
    """
    text = os.fspath(name)
    wanted = text.removeprefix(PREFIX)
    if wanted == text:
        for place in (text, f"{text}.py"):
            if os.path.isfile(os.path.expanduser(place)):
                return place
    top = shipped("configs")
    if not os.path.isabs(wanted):
        for below in (wanted.removeprefix("configs/"), f"{wanted.removeprefix('configs/')}.py"):
            if (top / below).is_file():
                return _as_seen(top / below)
    if "/" in wanted:
        return None
    stem = wanted.removesuffix(".py")
    return next((_as_seen(path) for path in leaves(suites) if path.stem == stem), None)


def find_config(name: str | os.PathLike, suites: bool = False, what: str = "config") -> str:
    """Return the file that a name stands for (`locate`).

    A path into a folder that is there, or to one, is given back as it is: who reads it says what is wrong with it.

    Args:
        what: it is called in the error.

    Raises:
        UserError: there is none; with near matches.
    """
    found = locate(name, suites)
    if found is not None:
        return found
    text = os.fspath(name)
    if not suites and (suite := locate(text, suites=True)) is not None:
        raise UserError(f"{what} {text!r} is a suite ({suite}); run it by python tools/transfer.py {text}")
    wanted = text.removeprefix(PREFIX)
    folder = os.path.dirname(os.path.expanduser(text))
    if wanted == text and (os.path.isdir(os.path.expanduser(text)) or (folder and os.path.isdir(folder))):
        return text
    hint = near_files(text) if wanted == text else ""
    if "did you mean" not in hint:
        known = _bases() if "_base_" in wanted else [path.stem for path in leaves(suites)]
        near = _near(wanted if "_base_" in wanted else os.path.basename(wanted).removesuffix(".py"), known)
        hint = f"; {near}" if near else hint or "; `mimtransfer configs` lists those that are shipped"
    raise UserError(f"{what} {text!r}: no such file{hint}")


def _bases() -> list[str]:
    top = shipped("configs")
    return [path.relative_to(top).as_posix() for path in sorted((top / "_base_").rglob("*.py"))]


def _near(name: str, known: Iterable[str]) -> str:
    """Word what a name may mean: those that begin with it, else those that are spelt alike."""
    longer = sorted(other for other in known if other.startswith(name)) if name else []
    if not longer:
        return near_matches(name, known)
    more = f" and {len(longer) - 4} more: mimtransfer configs '{name}*'" if len(longer) > 4 else ""
    return f"it is the beginning of {', '.join(map(repr, longer[:4]))}{more}"


def _as_seen(path: Path) -> str:
    """Return a path relative to the folder we are in where it lies below."""
    return os.path.relpath(path) if path.is_relative_to(os.path.realpath(os.curdir)) else str(path)
