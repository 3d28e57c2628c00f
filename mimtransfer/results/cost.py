"""What a training costs: images a second, wall time, peak memory."""
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def synchronize() -> None:
    """Wait for the accelerator, if there is one, so that the clock reads finished work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> int:
    """Return the peak bytes allocated on the CUDA device, else resident in this process, loader workers not counted."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class CostMeter:
    """Measure training throughput between pauses, after a warm-up, and go on from an earlier process.

    Loading counts, validation and checkpointing do not: `pause` stops the clock, and it starts again after the next
    iteration (whose loading overlapped the pause) or with the next epoch. The accelerator is waited for at these edges
    only.

    Args:
        warmup: iterations at the start of each process that are not measured; at most a quarter of those to come.
        clock: seconds, monotonic.
        wait: called before the clock is read at an edge.
    """

    def __init__(
        self, warmup: int = 10, clock: Callable[[], float] = time.perf_counter, wait: Callable[[], None] = synchronize
    ) -> None:
        self._max_warmup, self._clock, self._wait = warmup, clock, wait
        self._born = clock()
        self._since: float | None = None
        self._pending = 0  # images since the clock started
        self.iterations = 0  # in this process
        self.images, self.seconds = 0, 0.0
        self._wall_before, self._peak = 0.0, 0
        self._warmup = warmup

    def begin(self, iterations_to_come: int) -> None:
        """Start the training loop."""
        self._warmup = min(self._max_warmup, iterations_to_come // 4)

    def begin_epoch(self) -> None:
        """Start an epoch: from here on loading counts, and so does the start of the workers."""
        if self.iterations >= self._warmup and self._since is None:
            self._start()

    def iteration(self, images: int) -> None:
        """Count an iteration that has just ended, with its images on this rank."""
        self.iterations += 1
        # mmengine's log processor resets CUDA's own peak whenever it logs
        self._peak = max(self._peak, peak_memory())
        if self._since is not None:
            self._pending += images
        elif self.iterations >= self._warmup:
            self._start()

    def pause(self) -> None:
        """Stop the clock, right after an iteration."""
        if self._since is not None:
            self._wait()
            self.seconds += self._clock() - self._since
            self.images += self._pending
            self._since = None

    @property
    def images_per_s(self) -> float | None:
        """Images a second on this rank; None when nothing was measured."""
        return self.images / self.seconds if self.images and self.seconds > 0 else None

    @property
    def wall_s(self) -> float:
        """Seconds since the run began, with validation and checkpoints, over all processes whose work it continues."""
        return self._wall_before + self._clock() - self._born

    @property
    def peak_memory_bytes(self) -> int:
        """Peak over all iterations so far; in a process without any, the peak of now."""
        return max(self._peak, 0 if self.iterations else peak_memory())

    def state(self) -> dict[str, Any]:
        """Return what the next process needs."""
        return {"images": self.images, "seconds": self.seconds, "wall_s": self.wall_s, "peak_memory_bytes": self._peak}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Add the work of an earlier process."""
        self.images += state["images"]
        self.seconds += state["seconds"]
        self._wall_before += state["wall_s"]
        self._peak = max(self._peak, state["peak_memory_bytes"])

    def _start(self) -> None:
        self._wait()
        self._since, self._pending = self._clock(), 0


def num_images(data_batch: Any) -> int:
    """Count the images of a batch as mmengine's loaders give it.

    Args:
        data_batch: tensors or lists, in a dictionary (of branches, for semi-supervised detection) or a tuple; or a list
            of samples.
    """
    if isinstance(data_batch, Mapping):
        inputs = data_batch["inputs"] if "inputs" in data_batch else next(iter(data_batch.values()))
        return sum(len(branch) for branch in inputs.values()) if isinstance(inputs, Mapping) else len(inputs)
    samples = isinstance(data_batch, list) and isinstance(data_batch[0], Mapping)
    return len(data_batch) if samples or torch.is_tensor(data_batch) else len(data_batch[0])
