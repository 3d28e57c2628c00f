"""Time contenders in turns, A B C A B C, so that a machine that slows down slows down all of them."""
from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch


@dataclass
class Contender:
    """What is timed, and what it costs on paper.

    Attributes:
        step: one call.
        images: of a call.
        flops: operations of a call; None: not counted.
    """

    step: Callable[[], Any]
    images: int = 1
    flops: int | None = None


@dataclass
class Figure:
    """What was measured of a contender.

    Attributes:
        seconds: of a call, one number for each turn.
        memory: bytes it held at most, its weights and optimizer included, other contenders not; None on the CPU.
        error: what ended it, in one line.
    """

    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    error: str | None = None


def time_turn(step: Callable[[], Any], steps: int, device: str) -> float:
    """Return the seconds of a call, the mean of `steps`: by CUDA events on a GPU, else by the clock."""
    if not device.startswith("cuda"):
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - begin) / steps
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(steps):
        step()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / steps


def measure(
    builders: dict[str, Callable[[], Contender]],
    device: str,
    rounds: int,
    steps: int = 1,
    warmup: int = 2,
    survive: bool = False,
    note: Callable[[str], None] = lambda line: None,
) -> dict[str, tuple[Contender | None, Figure]]:
    """Build contenders and run them in turns.

    Args:
        builders: name -> what makes the contender; called in this order.
        device: cpu, cuda, cuda:1 ...
        rounds: timed turns of each.
        steps: calls in a turn.
        warmup: turns of each before the clock runs.
        survive: a contender that raises is taken out, with its error in its figure, and the others go on.
        note: called with a line about each failure.

    Returns:
        name -> (contender, None where it failed; figure). Steps are gone, and what they held can be freed.
    """
    cuda = device.startswith("cuda")
    running: dict[str, Contender] = {}
    figures = {name: Figure() for name in builders}
    own: dict[str, int] = {}

    def failed(name: str, error: Exception) -> None:
        running.pop(name, None)
        figures[name].error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        note(f"{name}: {figures[name].error}")

    for name, builder in builders.items():
        before = _allocated(cuda)
        try:
            running[name] = builder()
            time_turn(running[name].step, 1, device)  # the optimizer's moments are there after a step
        except Exception as error:
            if not survive:
                raise
            failed(name, error)
        if name not in running:
            free(cuda)  # when the traceback is gone, and what it held
        own[name] = _allocated(cuda) - before
    built = dict(running)
    for turn in range(warmup + rounds):
        for name in list(running):
            held = _allocated(cuda)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            try:
                seconds = time_turn(running[name].step, steps, device)
            except Exception as error:
                if not survive:
                    raise
                failed(name, error)
            if name not in running:
                built.pop(name)
                free(cuda)
            elif turn >= warmup:
                figures[name].seconds.append(seconds)
                if cuda:
                    peak = torch.cuda.max_memory_allocated() - (held - own[name])
                    figures[name].memory = max(peak, figures[name].memory or 0)
    ended = {name: replace(contender, step=_ended) for name, contender in built.items()}
    return {name: (ended.get(name), figure) for name, figure in figures.items()}


def _ended() -> None:
    raise AssertionError("this contender was measured and let go")


def free(cuda: bool) -> None:
    """Give back what nothing holds any more; models are in cycles."""
    gc.collect()
    if cuda:
        with suppress(RuntimeError):  # after an illegal access nothing works any more; later cases say so
            torch.cuda.empty_cache()


def count_flops(step: Callable[[], Any], times: int = 1) -> int | None:
    """Return `times` the operations of a call: matrix products and convolutions, attention included.

    A multiplication and an addition are two. None where the GPU has no memory for attention that is not fused.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Unfused: the counter knows no fused attention of the CPU.
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            step()
    except torch.cuda.OutOfMemoryError:
        return None
    return counter.get_total_flops() * times


def _allocated(cuda: bool) -> int:
    return torch.cuda.memory_allocated() if cuda else 0
