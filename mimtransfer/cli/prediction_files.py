"""The JSON files of `tools/predict.py`, whole after every image."""
from __future__ import annotations

import json
from typing import Any


class _GrowingFile:
    """A JSON with a list that grows: what stands behind the list is written again each time.

    Args:
        path: written anew.
        head: what stands before the entries.
    """

    def __init__(self, path: str, head: str):
        self.path = path
        self._any = False
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115  closed by __exit__
        self._file.write(head)
        self._end = self._file.tell()
        self._write([])

    def _write(self, entries: list[dict[str, Any]]) -> None:
        self._file.seek(self._end)
        self._file.truncate()
        for entry in entries:
            self._file.write((",\n" if self._any else "\n") + json.dumps(entry))
            self._any = True
        self._end = self._file.tell()
        self._file.write(self._tail())
        self._file.flush()

    def _tail(self) -> str:
        return "\n]\n"

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class PredictionsFile(_GrowingFile):
    """A JSON of `classes`, `images`, one entry each, and `unreadable`.

    Args:
        path: written anew.
        classes: names of the labels.
    """

    def __init__(self, path: str, classes: tuple[str, ...]):
        self.num_images = 0
        self.unreadable: list[dict[str, str]] = []
        super().__init__(path, f'{{"classes": {json.dumps(list(classes))},\n"images": [')

    def add(self, entry: dict[str, Any]) -> None:
        """Add the entry of an image."""
        self.num_images += 1
        self._write([entry])

    def leave_out(self, path: str, why: str) -> None:
        """Note an image that cannot be read."""
        self.unreadable.append(dict(image=path, reason=why))
        self._write([])

    def _tail(self) -> str:
        return f'\n],\n"unreadable": {json.dumps(self.unreadable)}}}\n'


class ResultsFile(_GrowingFile):
    """A list of detections in COCO's format for results, as its server and `pycocotools` `loadRes` read it.

    Args:
        path: written anew.
    """

    def __init__(self, path: str):
        super().__init__(path, "[")

    def add(self, results: list[dict[str, Any]]) -> None:
        """Add the detections of an image."""
        self._write(results)
