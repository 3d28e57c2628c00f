"""Seconds that training itself takes, over all processes of a run: what accuracy is drawn against."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mimtransfer.results.measurement import synchronize


class Seconds(NamedTuple):
    """The same work by two clocks: of the CPUs, all threads of the process, and of the wall."""

    cpu: float
    wall: float


class TrainingClock:
    """Count the seconds of iterations and of passes that measure maps; leave out what is no training.

    The start of a process costs time that a run without interruption pays once: imports, compilation, first use of
    kernels. So the first iterations of each process count as many seconds as its later ones take in the mean; until
    there are later ones, as none.

    Args:
        warmup: number of these first iterations.
        read: returns both clocks.
        wait: called at edges before the clocks are read; by default it waits for the work of the CUDA device.
    """

    def __init__(
        self, warmup: int, read: Callable[[], Seconds] | None = None, wait: Callable[[], None] | None = None
    ) -> None:
        self.warmup, self._read, self._wait = warmup, read or _both_clocks, wait or synchronize
        self._whole = Seconds(0.0, 0.0)  # earlier processes, and passes
        self._later = Seconds(0.0, 0.0)  # iterations of this process after its warm-up
        self._num_first = self._num_later = 0
        self._since: Seconds | None = None

    def begin(self, before: Mapping[str, float]) -> None:
        """Go on from what earlier processes took: `cpu_s` and `wall_s`."""
        self._whole = Seconds(before["cpu_s"], before["wall_s"])

    def start(self) -> None:
        """Start, if it does not run: what follows is training."""
        if self._since is None:
            self._wait()
            self._since = self._read()

    def stop(self) -> None:
        """Stop: what follows is no training. What has passed since the last iteration belongs to it."""
        if self._since is not None:
            self._wait()
            passed = self._passed()
            if self._num_later:
                self._later = _sum(self._later, passed)
            self._since = None

    def iteration(self) -> None:
        """Count an iteration that has just ended."""
        if self._num_first < self.warmup:
            self._num_first += 1
            if self._num_first == self.warmup:
                self._wait()
            self._passed()
        else:
            self._num_later += 1
            self._later = _sum(self._later, self._passed())

    def add_pass(self) -> Seconds:
        """Count what has passed since the last call as it is; return it."""
        self._wait()
        passed = self._passed()
        self._whole = _sum(self._whole, passed)
        return passed

    def add(self, seconds: Seconds) -> None:
        """Count seconds of another process."""
        self._whole = _sum(self._whole, seconds)

    def leave_out(self) -> None:
        """Do not count what has passed since the last call."""
        self._wait()
        self._passed()

    @property
    def total(self) -> Seconds:
        """The seconds of all processes until the last call."""
        scale = (self._num_first + self._num_later) / self._num_later if self._num_later else 0.0
        return _sum(self._whole, Seconds(self._later.cpu * scale, self._later.wall * scale))

    def _passed(self) -> Seconds:
        assert self._since is not None, "the clock does not run"
        before, self._since = self._since, self._read()
        return Seconds(self._since.cpu - before.cpu, self._since.wall - before.wall)


def _sum(first: Seconds, second: Seconds) -> Seconds:
    return Seconds(first.cpu + second.cpu, first.wall + second.wall)


def _both_clocks() -> Seconds:
    return Seconds(time.process_time(), time.perf_counter())
