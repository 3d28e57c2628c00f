"""Overrides of a config, `KEY=VALUE` on the command line: written and read here, so that both agree.

mmengine's `DictAction` reads numbers, booleans, words and nested lists; it drops spaces and takes any comma for a list.
A value in quotes is taken as it is, and so is a list or tuple that holds quotes. Words with spaces, and paths that
exist or whose folder exists, are one text with all their spaces and commas.
"""
from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

# `DictAction` reads it as itself: not as a boolean, None or a float
_WORD = re.compile(r"(?!(?i:true|false|none|nan|inf|infinity)$)[A-Za-z_./][\w./:-]*")


def option_texts(options: Mapping[str, Any]) -> list[str]:
    """Return `KEY=VALUE` of each option, as `read_options` reads them back."""
    return [f"{key}={_text(value)}" for key, value in options.items()]


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` texts, for `Config.merge_from_dict`.

    Raises:
        ValueError: a text has no `=`, or a value in quotes is no Python string.
    """
    from mmengine.config import DictAction  # 2 s

    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="+", action=DictAction)
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"got {text!r}, expected KEY=VALUE")
        if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
            try:
                found[key] = ast.literal_eval(value)
            except SyntaxError:
                raise ValueError(f"{text}: the value is no string in quotes") from None
        elif _is_path(value):
            found[key] = value
        elif (items := _quoted_items(value)) is not None:
            found[key] = items
        else:
            found |= parser.parse_args(["--options", text]).options
    return found


def _is_path(value: str) -> bool:
    """Say whether a value with spaces or commas is one text: `DictAction` drops spaces and splits at commas."""
    if value[:1] in ("[", "(") or not re.search("[ ,]", value):
        return False
    there = "/" in value and (os.path.exists(value) or os.path.isdir(os.path.dirname(value)))
    return there or (" " in value and "," not in value) or (" " in value and "/" in value and ", " not in value)


def _quoted_items(value: str) -> list | tuple | None:
    """Read a list or tuple whose texts stand in quotes; None for any other value, `DictAction` reads those."""
    if not re.match(r"[\[(].*['\"]", value):
        return None
    try:
        items = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return None
    return items if isinstance(items, list | tuple) else None


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        inside = ",".join(_text(item) for item in value)
        if "'" in inside or '"' in inside:
            return repr(value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return repr(value) if isinstance(value, str) and not _WORD.fullmatch(value) else str(value)
