"""What the disk says of a job: `job.json` in its work dir, written before it starts, and the file it ends with."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_files
from mimtransfer.files import sha256_file, write_atomically
from mimtransfer.results.record import FILE_NAME, read_record
from mimtransfer.stored import read_object
from mimtransfer.suites.inputs import Inputs, StatCache, changes, digest
from mimtransfer.suites.suite import Job, load_suite

JOB_FILE = "job.json"
OLD_JOB_FILE = "cell.json"  # what earlier versions wrote; it is read where there is no JOB_FILE
OUTPUT_FILE = "output.txt"


@dataclass(frozen=True)
class State:
    """Where a job stands.

    Args:
        name: `done`; `running`, now, whoever started it; `new`; `begun`, to be resumed; `failed`, to be tried again;
            `stale`, made from other inputs, to be made again; `waiting`, whatever it was, because what it needs is
            not done; `missing`, likewise, because the checkpoint that it starts from is not there.
        why: what changed, or the last error.
        parts: the inputs; empty for a job that cannot be looked at.
    """

    name: str
    why: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """A suite with what its jobs depend on and what is in its work dir.

    Args:
        root: of the checkout whose tools run.
        path, seeds, work_dir: see `load_suite`.
        only: see `Suite.only`.
        accept_code: what was made with other code counts as made.
    """

    def __init__(
        self, root: Path, path: str, seeds: Sequence[int] | None = None, work_dir: str | None = None,
        only: Sequence[str] = (), accept_code: bool = False,
    ) -> None:  # fmt: skip
        suite = load_suite(path, seeds, work_dir)
        self.suite = suite.only(only) if only else suite
        self.inputs = Inputs(root, StatCache(suite.work_dir / "suite-cache.json"))
        self.accept_code = accept_code

    def states(self) -> dict[str, State]:
        """Look at every job, in the order in which they can run."""
        found: dict[str, State] = {}
        for job in self.suite.jobs.values():
            found[job.name] = self.state(job, all(found[other].name == "done" for other in job.after))
        self.inputs.cache.save()
        return found

    def state(self, job: Job, ready: bool = True, locked: bool | None = None) -> State:
        """Look at one job.

        Args:
            ready: what it needs is done.
            locked: some process works on it; None to find out.
        """
        if self._is_locked(job) if locked is None else locked:
            return State("running")
        if job.kind == "data":
            return State("done" if self.is_done(job) else "new")
        if not ready:
            return State("waiting")
        if missing := self.missing_start(job):
            return State("missing", missing)
        made = {name: self._made(name) for name in job.after if self.suite.jobs[name].kind != "data"}
        parts = self.inputs.of(job, made)
        begun, done = self._begun(job), self.is_done(job)
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

    def missing_start(self, job: Job) -> str:
        """Say which checkpoint a job lacks to start from, and where it comes from; "" where nothing is missing."""
        if job.start is None or job.start in job.after or Path(job.start).expanduser().exists():
            return ""
        return f"no file {job.start}" + (f": it comes from {job.source}" if job.source else near_files(job.start))

    def _is_locked(self, job: Job) -> bool:
        """Say whether some process works on a job."""
        try:
            with open(self.suite.folder(job.name) / ".lock") as file:
                return not _lock(file.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def started(self, job: Job) -> Iterator[int | None]:
        """Get a job's work dir ready to run or to resume.

        Yields:
            A file descriptor that holds the job's lock. A child that inherits it keeps the job locked to its end,
            even when this process is killed. None when another process has the job.
        """
        folder = self.suite.folder(job.name)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as file:
            if not _lock(file.fileno(), fcntl.LOCK_EX):
                yield None
                return
            if job.kind != "data":
                self._prepare(job, self.state(job, locked=False))
            yield file.fileno()

    def _prepare(self, job: Job, state: State) -> None:
        self.inputs.cache.save()
        folder = self.suite.folder(job.name)
        if state.name == "stale":
            self._set_aside(folder)
        about = {"name": job.name, "fingerprint": digest(state.parts), "parts": state.parts}
        write_atomically(folder / JOB_FILE, json.dumps(about))

    def failed(self, job: Job, status: int) -> str:
        """Note why a job's run ended without a result; return the reason in one line."""
        folder = self.suite.folder(job.name)
        reason = _last_error(folder / OUTPUT_FILE) or f"exit status {status}"
        begun = self._begun(job)
        if begun is not None:
            write_atomically(folder / JOB_FILE, json.dumps({**begun, "failed": reason}))
        return reason

    def is_done(self, job: Job) -> bool:
        """Say whether a job has left its result."""
        path = self._end(job)
        if job.kind in ("data", "tokenizer"):
            return path.exists()
        try:
            return bool(read_record(path)["metrics"])  # without, it was stopped before its evaluation
        except UserError:  # also when there is none
            return False

    def _end(self, job: Job) -> Path:
        """Return the file that a job ends with."""
        if job.kind == "data":
            return Path(job.makes)
        return self.suite.folder(job.name) / ("codebook.json" if job.kind == "tokenizer" else FILE_NAME)

    def _made(self, name: str) -> dict[str, str]:
        """Return what a done job made: the fingerprint it ran with, and which run it was."""
        job = self.suite.jobs[name]
        if job.kind == "tokenizer":
            run = sha256_file(self._end(job))[:16]
        else:
            run = read_record(self._end(job))["run_id"]
        return {"fingerprint": (self._begun(job) or {}).get("fingerprint", ""), "run": run}

    def _begun(self, job: Job) -> dict[str, Any] | None:
        """Return what a job's file says, None where there is none or a broken one."""
        for name in (JOB_FILE, OLD_JOB_FILE):
            path = self.suite.folder(job.name) / name
            try:
                begun = read_object(path, {"parts": dict, "fingerprint": str}, "") if path.exists() else None
            except UserError:
                continue
            if begun is None or not all(isinstance(part, (dict, type(None))) for part in begun["parts"].values()):
                continue
            if "failed" in begun:
                begun["failed"] = " ".join(str(begun["failed"]).split())[:300]  # one line, whoever wrote it
            return begun
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
