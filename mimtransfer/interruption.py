"""Signals that end a run: one line that names the last checkpoint, the exit status of convention, no child left.

Only the standard library is imported here: the tools' `clean_exit` needs it before anything heavy is loaded.
"""
from __future__ import annotations

import contextlib
import os
import os.path as osp
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

POINTER = "last_checkpoint"  # in a work dir: names the newest checkpoint
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))
_REPEATED = 3.0  # seconds: launchers and schedulers send the same signal more than once


class Interrupted(BaseException):
    """A signal that ends the process. Like KeyboardInterrupt, no `except Exception` takes it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Run:
    """What the handler has to know of the run of this process."""

    def __init__(self) -> None:
        self.work_dir: str | None = None
        self.delay = False
        self.requested: int | None = None
        self.raised_at: float | None = None
        self.to_finish: Callable[[], None] | None = None


_RUN = _Run()
_TIDY: list[Callable[[], None]] = []


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C raise `Interrupted` in the main thread; at the end the handlers are as before.

    A signal that is ignored stays so: `nohup` ignores SIGHUP.
    """
    global _RUN
    before: dict[int, Any] = {}
    outer, _RUN = _RUN, _Run()
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        _handle(number, process)

    try:
        for number in _SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                with contextlib.suppress(ValueError):  # not the main thread
                    before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _RUN = outer


def _handle(number: int, process: int) -> None:
    if os.getpid() != process:  # a data loader worker, which inherits the handler by fork
        if number != signal.SIGINT:  # Ctrl-C reaches the whole group; the process that owns the worker ends it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    now = time.monotonic()
    if _RUN.raised_at is not None:
        if now - _RUN.raised_at > _REPEATED:  # whoever sends it again means it
            signal.signal(number, signal.SIG_DFL)
            os.kill(process, number)
        return
    if _RUN.delay and number != signal.SIGINT:
        _RUN.requested = _RUN.requested or number
        return
    _RUN.raised_at = now
    raise Interrupted(number)


def behind(error: BaseException) -> int | None:
    """Return the signal that came while `error` was on its way: a bare `except` of a library (mmengine's, around the
    formatting of a config) turns `Interrupted` into an error of its own. None: there was no signal.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Interrupted):
        seen = seen.__cause__ or seen.__context__
    return seen.number if seen is not None else None


def begin(work_dir: str, delay: bool = False) -> None:
    """Note where the run of this process keeps its checkpoints.

    Args:
        delay: SIGTERM and SIGHUP wait for `stop`, so that the run can save first.
    """
    _RUN.work_dir, _RUN.delay = work_dir, delay


def requested() -> bool:
    """Say whether a delayed signal has come."""
    return _RUN.requested is not None


def stop() -> None:
    """Raise what was delayed; SIGTERM where another process of the run got the signal."""
    _RUN.delay, _RUN.raised_at = False, time.monotonic()
    raise Interrupted(_RUN.requested or signal.SIGTERM)


def end_delay() -> None:
    """Let signals end the run at once again; one that has come is raised now."""
    _RUN.delay = False
    if requested():
        stop()


def finish_first(wait: Callable[[], None] | None) -> None:
    """Note what the end of this process has to wait for: a checkpoint that is being written. None: nothing."""
    _RUN.to_finish = wait


def at_end(tidy: Callable[[], None]) -> None:
    """Have something called before a run that ends by an error or a signal says so."""
    _TIDY.append(tidy)


def finish() -> None:
    """Wait for it, however the process ends, and say in a line what went wrong with it."""
    for tidy in _TIDY:
        tidy()
    wait, _RUN.to_finish = _RUN.to_finish, None
    try:
        if wait is not None:
            wait()
    except Exception as error:
        print(f"error: {error}", file=sys.stderr, flush=True)


def last_checkpoint() -> str | None:
    """Return the newest checkpoint that the run of this process has, by the pointer in its work dir."""
    if _RUN.work_dir is None:
        return None
    try:
        with open(osp.join(_RUN.work_dir, POINTER), encoding="utf-8", errors="replace") as file:
            path = osp.join(_RUN.work_dir, osp.basename(file.read().strip()))
    except OSError:
        return None
    return path if osp.isfile(path) else None


def tell(number: int) -> str:
    """Word the line: which signal, and what to go on from."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    checkpoint = last_checkpoint()
    if checkpoint is not None:
        return f"stopped by {name}; the last checkpoint is {checkpoint}, go on with --resume"
    return f"stopped by {name}" + ("; no checkpoint has been saved" if _RUN.work_dir is not None else "")


def end_children() -> None:
    """End the processes that Python's multiprocessing started here: data loader workers."""
    multiprocessing = sys.modules.get("multiprocessing")
    children = multiprocessing.active_children() if multiprocessing is not None else []
    for child in children:
        child.terminate()
    for child in children:
        child.join(2.0)
        if child.is_alive():
            child.kill()
            child.join()
