"""What the disk says of a cell: `cell.json` in its work dir, written before it starts, and the file it ends with."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.results.record import FILE_NAME, read_record
from mimtransfer.suites.inputs import Inputs, changes, digest
from mimtransfer.suites.stat_cache import write_atomically
from mimtransfer.suites.suite import Cell, Suite

_CELL_FILE = "cell.json"
OUTPUT_FILE = "output.txt"


@dataclass(frozen=True)
class State:
    """Where a cell stands.

    Args:
        name: `done`; `running`, now, whoever started it; `new`; `begun`, to be resumed; `failed`, to be tried again;
            `stale`, made from other inputs, to be made again; `waiting`, whatever it was, because what it needs is
            not done.
        why: what changed, or the last error.
        parts: the inputs, of a cell that can be looked at.
    """

    name: str
    why: str = ""
    parts: Mapping[str, Any] | None = None


class Study:
    """A suite with its inputs and its work dirs."""

    def __init__(self, suite: Suite, inputs: Inputs, accept_code: bool = False) -> None:
        self.suite, self.inputs, self.accept_code = suite, inputs, accept_code

    def folder(self, name: str) -> Path:
        """Return a cell's work dir."""
        return self.suite.folder(self.suite.cells[name])

    def states(self) -> dict[str, State]:
        """Look at every cell, in the order in which they can run."""
        found: dict[str, State] = {}
        for cell in self.suite.cells.values():
            found[cell.name] = self.state(cell, all(found[other].name == "done" for other in cell.after))
        self.inputs.cache.save()
        return found

    def state(self, cell: Cell, ready: bool = True, locked: bool | None = None) -> State:
        """Look at one cell.

        Args:
            ready: what it needs is done.
            locked: some process works on it; None to find out.
        """
        if self._is_locked(cell) if locked is None else locked:
            return State("running")
        if cell.kind == "data":
            return State("done" if Path(cell.makes).exists() else "new")
        if not ready:
            return State("waiting")
        made = {name: self._made(name) for name in cell.after if self.suite.cells[name].kind != "data"}
        parts = self.inputs.of(cell, made)
        begun, done = self._begun(cell), self._is_done(cell)
        if begun is None:
            return State("stale", "not made by this suite", parts) if done else State("new", "", parts)
        differing = changes(begun["parts"], parts)
        if self.accept_code and all(text.startswith("code ") for text in differing):
            parts = begun["parts"]
        elif differing:
            return State("stale", "; ".join(differing), parts)
        if done:
            return State("done", "", parts)
        return State("failed", begun["failed"], parts) if begun.get("failed") else State("begun", "", parts)

    def _is_locked(self, cell: Cell) -> bool:
        """Say whether some process works on a cell."""
        try:
            with open(self.suite.folder(cell) / ".lock") as file:
                return not _lock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def started(self, cell: Cell) -> Iterator[int | None]:
        """Get a cell's work dir ready to run or to resume.

        Yields:
            A file descriptor that holds the cell's lock. A child that inherits it keeps the cell locked to its end,
            even when this process is killed. None when another process has the cell.
        """
        folder = self.suite.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as file:
            if not _lock(file.fileno(), fcntl.LOCK_EX):
                yield None
                return
            if cell.kind != "data":
                self._prepare(cell, self.state(cell, locked=False))
            yield file.fileno()

    def _prepare(self, cell: Cell, state: State) -> None:
        self.inputs.cache.save()
        folder = self.suite.folder(cell)
        if state.name == "stale":
            self._set_aside(folder)
        about = {"name": cell.name, "fingerprint": digest(state.parts), "parts": state.parts}
        write_atomically(folder / _CELL_FILE, json.dumps(about))

    def failed(self, cell: Cell, status: int) -> str:
        """Note why a cell's run ended without a result; return the reason in one line."""
        folder = self.suite.folder(cell)
        reason = _last_error(folder / OUTPUT_FILE) or f"exit status {status}"
        begun = self._begun(cell)
        if begun is not None:
            write_atomically(folder / _CELL_FILE, json.dumps({**begun, "failed": reason}))
        return reason

    def is_done(self, cell: Cell) -> bool:
        """Say whether a run that has just ended has left its result."""
        return Path(cell.makes).exists() if cell.kind == "data" else self._is_done(cell)

    def _is_done(self, cell: Cell) -> bool:
        path = self._end(cell)
        if not path.is_file() or cell.kind == "tokenizer":
            return path.is_file()
        try:
            return bool(read_record(path)["metrics"])  # without, it was stopped before its evaluation
        except UserError:
            return False

    def _end(self, cell: Cell) -> Path:
        return self.suite.folder(cell) / ("codebook.json" if cell.kind == "tokenizer" else FILE_NAME)

    def _made(self, name: str) -> dict[str, str]:
        """Return what a done cell made: the fingerprint it ran with, and which run it was."""
        cell = self.suite.cells[name]
        if cell.kind == "tokenizer":
            run = hashlib.sha256(self._end(cell).read_bytes()).hexdigest()[:16]
        else:
            run = read_record(self._end(cell))["run_id"]
        return {"fingerprint": (self._begun(cell) or {}).get("fingerprint", ""), "run": run}

    def _begun(self, cell: Cell) -> dict[str, Any] | None:
        try:
            return json.loads((self.suite.folder(cell) / _CELL_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _set_aside(self, folder: Path) -> None:
        """Move what is in a work dir to `WORK_DIR.replaced/`: a table of the work dir does not look there."""
        place = self.suite.work_dir.with_name(f"{self.suite.work_dir.name}.replaced")
        place = place / f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        place.mkdir(parents=True)
        for path in list(folder.iterdir()):
            if path.name != ".lock":
                os.replace(path, place / path.name)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_error(path: Path) -> str:
    """Return the tool's own line `error: ...`, else the last line of its output."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace")[-20000:].splitlines()
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]
