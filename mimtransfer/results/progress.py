"""ProgressHook: one line for each epoch in the log, and a bar with the time that is left on a terminal."""
from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, Runner
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from mimtransfer import interruption
from mimtransfer.registry import HOOKS
from mimtransfer.results.closing import duration, scores_in_words, speed
from mimtransfer.results.measurement import raw_metrics, standard_metrics
from mimtransfer.training.batch import batch_of

_OPEN: weakref.WeakSet[tqdm] = weakref.WeakSet()


def close_bars() -> None:
    """Leave the line of a bar, where a run ends by an error or a signal: what follows begins a line of its own."""
    for bar in list(_OPEN):
        bar.close()


interruption.at_end(close_bars)


@HOOKS.register_module()
class ProgressHook(Hook):
    """Log one line at the end of each epoch, with the score of its validation, and draw a bar on a terminal.

    A run by iterations gets the line at each validation and at its end. The tools register the hook. It reads the
    logged losses once for each line and changes nothing of the run. The bar is drawn on stderr where that is a
    terminal, and nowhere else.
    """

    priority = "VERY_LOW"  # behind LoggerHook, whose lines it sums up

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._evaluating: tqdm | None = None
        self._screen = contextlib.ExitStack()
        self._part: tuple[int, float] | None = None  # iterations and seconds that the next line sums up
        self._clock: float | None = None

    def before_train(self, runner: Runner) -> None:
        """Open the bar."""
        self._began, self._first = time.monotonic(), runner.iter
        self._bar = _bar(runner.max_iters, "training", runner.iter)
        if self._bar is not None:
            self._screen.enter_context(_lines_above_the_bar(runner.logger))

    def before_train_epoch(self, runner: Runner) -> None:
        """Write the line of the epoch before, where no validation has."""
        self._write(runner)
        self._start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count."""
        self._count += 1
        if self._bar is not None:
            self._bar.update()

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop the clock; the line waits for a validation."""
        self._stop()

    def after_train(self, runner: Runner) -> None:
        """Write the last line and close the bar."""
        self._write(runner)
        if self._bar is not None:
            self._bar.close()
        self._bar = None
        self._screen.close()

    def before_val(self, runner: Runner) -> None:
        """Stop the clock, and open a second bar."""
        self._stop()
        self._evaluating = _bar(len(runner.val_dataloader), "evaluation", leave=False)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count."""
        if self._evaluating is not None:
            self._evaluating.update()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the line with the score, and start the clock again: runs by iterations go on in the same epoch."""
        self._close_evaluation()
        if self._part is not None:
            self._write(runner, metrics)
            self._start()

    def before_test(self, runner: Runner) -> None:
        """Open a bar."""
        self._evaluating = _bar(len(runner.test_dataloader), "test", leave=False)
        if self._evaluating is not None:
            self._screen.enter_context(_lines_above_the_bar(runner.logger))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count."""
        self.after_val_iter(runner, batch_idx)

    def after_test(self, runner: Runner) -> None:
        """Close it."""
        self._close_evaluation()
        self._screen.close()

    def _close_evaluation(self) -> None:
        if self._evaluating is not None:
            self._evaluating.close()
        self._evaluating = None

    def _start(self) -> None:
        self._count, self._clock = 0, time.monotonic()

    def _stop(self) -> None:
        if self._clock is not None and self._count:
            self._part = (self._count, time.monotonic() - self._clock)
        self._clock = None

    def _write(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        if self._part is None:
            return
        (iterations, seconds), self._part = self._part, None
        words = []
        if (losses := runner.message_hub.log_scalars.get("train/loss")) is not None:
            words.append(f"mean loss {losses.mean(iterations):.4f}")
        words += scores_in_words(standard_metrics(raw_metrics(metrics or {})))
        images = iterations * batch_of(runner.cfg, get_world_size()).images
        words += [speed(images / max(seconds, 1e-9)), duration(seconds)]
        left = runner.max_iters - runner.iter
        if left:
            spent = time.monotonic() - self._began
            words.append(f"about {duration(spent / (runner.iter - self._first) * left)} left")
        runner.logger.info(f"Done: {_place(runner)}: {', '.join(words)}")


def _place(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f"epoch {-(-runner.iter // len(runner.train_dataloader))} of {runner.max_epochs}"
    return f"iteration {runner.iter} of {runner.max_iters}"


def _bar(total: int, name: str, initial: int = 0, leave: bool = True) -> tqdm | None:
    """Open a bar on stderr; None in all processes but the first, and where stderr is no terminal."""
    if not is_main_process():
        return None
    bar = tqdm(total=total, initial=initial, desc=name, leave=leave, disable=None, dynamic_ncols=True)
    if bar.disable:
        return None
    _OPEN.add(bar)
    return bar


@contextlib.contextmanager
def _lines_above_the_bar(logger: MMLogger) -> Iterator[None]:
    """Let what the logger prints on a terminal scroll above the bar; its files stay as they are."""
    levels = [handler.level for handler in logger.handlers if type(handler) is logging.StreamHandler]
    with logging_redirect_tqdm([logger]):
        logger.handlers[-1].setLevel(max(levels, default=logging.NOTSET))  # the only thing of ours that tqdm drops
        yield
