"""What was computed from files, kept until one of them changes."""
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.stored_json import read_object


class StatCache:
    """A JSON file of values, each with the sizes and times of the files that it was computed from.

    Args:
        path: of the JSON file; one that is missing, broken or of another layout counts as empty.
    """

    _LAYOUT = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._changed = False
        try:
            stored = read_object(self.path, {"entries": dict, "layout": int}, "")
        except UserError:
            stored = {}
        entries = stored["entries"].items() if stored.get("layout") == self._LAYOUT else ()
        self._entries = {key: entry for key, entry in entries
                         if isinstance(entry, dict) and "value" in entry and isinstance(entry.get("files"), dict)}

    def get(self, key: str, compute: Callable[[], tuple[Any, Iterable[str | Path]]]) -> Any:
        """Return the value of a key.

        Args:
            compute: returns the value, to be kept as JSON, and the files and folders that it depends on. Adding or
                removing a file changes a folder.
        """
        entry = self._entries.get(key)
        if entry is None or any(_stat(path) != found for path, found in entry["files"].items()):
            value, files = compute()
            entry = {"value": value, "files": {str(path): _stat(path) for path in files}}
            self._entries[key], self._changed = entry, True
        return entry["value"]

    def save(self) -> None:
        """Write the file, in one step, if anything was computed."""
        if not self._changed:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps({"layout": self._LAYOUT, "entries": self._entries}))
        self._changed = False


def write_atomically(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads it never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _stat(path: str | Path) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
