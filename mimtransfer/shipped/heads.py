"""What the head of a config says, its docstring: title, data, score; and a list of configs, one line each."""
from __future__ import annotations

import ast
import fnmatch
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mimtransfer.errors import UserError, near_matches
from mimtransfer.shipped.configs import leaves
from mimtransfer.shipped.places import shipped

_FIELD = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?)(?::\s|\s{2,})(.*)")
_SCORES = ("Score", "Aims at", "Measured")


@dataclass(frozen=True)
class Head:
    """What a config says of itself.

    Args:
        folder: below `configs`, e.g. `detection`.
        name: the short one, without `.py`.
        data: what the head says, else the last part of the name, e.g. `coco`.
        text: all of the docstring.
    """

    folder: str
    name: str
    title: str
    data: str
    score: str
    text: str


def read_head(path: Path) -> Head:
    """Read the docstring of a config file."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    fields: dict[str, str] = {}
    key = ""
    for line in text.splitlines()[1:]:
        if found := _FIELD.match(line):
            key = found[1]
            fields.setdefault(key, found[2].strip())
        elif key and line.strip():
            fields[key] += f" {line.strip()}"
        else:
            key = ""
    score = next((fields[key] for key in _SCORES if key in fields), "")
    data = fields.get("Data") or path.stem.rpartition("_")[2]
    folder = path.parent.relative_to(shipped("configs")).as_posix()
    return Head(folder, path.stem, re.split(r"[.:;] ", paragraph)[0].rstrip(".:;"), data, score, text)


def matching(pattern: str | None) -> list[Head]:
    """Return the heads of the configs whose name, folder or head holds a word, or fits a shell pattern.

    Args:
        pattern: upper and lower case count as equal; all configs without one. Hyphens, underscores and spaces of a
            word may be left out where nothing else fits.

    Raises:
        UserError: nothing matches.
    """
    heads = [read_head(path) for path in leaves()]
    if pattern is None:
        return heads
    word = pattern.lower()
    if any(sign in word for sign in "*?["):
        found = [head for head in heads if fnmatch.fnmatch(head.name.lower(), word)
                 or fnmatch.fnmatch(f"{head.folder}/{head.name}".lower(), word)]
    else:
        said = {f"{head.folder}/{head.name} {head.title}".lower(): head for head in heads}
        found = [head for text, head in said.items() if word in text]
        if not found and (letters := re.sub(r"[-_ ]", "", word)):  # maskrcnn
            found = [head for text, head in said.items() if letters in re.sub(r"[-_ ]", "", text)]
    if not found:
        hint = near_matches(pattern, [head.name for head in heads])
        raise UserError(f"no config matches {pattern!r}; {hint or 'mimtransfer configs lists all'}")
    exact = [head for head in found if head.name == pattern]
    return exact or found


def listing(heads: Iterable[Head]) -> str:
    """Word configs by folder, a line each; of a single one all that its head says."""
    heads = list(heads)
    if len(heads) == 1:
        return f"{heads[0].folder}/{heads[0].name}\n\n{heads[0].text}"
    lines: list[str] = []
    width = max(len(head.name) for head in heads)
    for folder in dict.fromkeys(head.folder for head in heads):
        lines += ["", f"{folder}/"]
        for head in heads:
            if head.folder == folder:
                said = [_short(head.title, 70), f"data: {_short(head.data, 40)}",
                        *([f"score: {_short(head.score, 70)}"] if head.score else [])]
                lines.append(f"  {head.name:{width}}  {' | '.join(said)}")
    return "\n".join(lines[1:])


def _short(text: str, width: int) -> str:
    short = textwrap.shorten(text, width, placeholder=" ...")
    return f"{text[: width - 4]} ..." if short.strip() == "..." else short  # a single long word, as a path is
