"""Log values without waiting for the device: they stay there until someone asks for them.

mmengine reads each logged value in every iteration, `RuntimeInfoHook` the losses and `OptimWrapper` the norm of the
gradients, and each time the host waits until the device has caught up. Here histories keep the tensors and read them
together when a statistic is asked for, which `LoggerHook` does every `interval` iterations. The numbers are the same,
whoever asks and whenever. Appending is cheap, too: mmengine copies the whole history for each value.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from mimtransfer.registry import HOOKS
from mimtransfer.training.loading import copy_without_waiting

_MOST = 1000  # values that wait, where nobody ever asks


class DeferredHistory(HistoryBuffer):
    """A `HistoryBuffer` whose newest values may still be on the device; a copy of it is a plain one.

    Args:
        before: history to go on with.
    """

    def __init__(self, before: HistoryBuffer | None = None) -> None:
        self._waiting: list[tuple[Any, int]] = []  # number, or tensor of one number; count
        self._is_new = before is None  # the first value decides between integers and floats, as in mmengine's hub
        if before is None:
            super().__init__()
        else:
            super().__init__(max_length=before.max_length)
            self._values, self._counts = before.data

    def update(self, log_val: float | Tensor, count: int = 1) -> None:
        """Append a value; a tensor must not be written to later."""
        if isinstance(log_val, Tensor):
            log_val = log_val.detach().reshape(())
        elif not isinstance(log_val, (int, float)):
            raise TypeError(f"got a {type(log_val).__name__} to log, expected a number or a tensor")
        self._waiting.append((log_val, count))
        if len(self._waiting) >= _MOST:
            self._read()

    def current(self) -> np.ndarray:
        """Return the newest value; one that is on the host already is returned without reading the others."""
        if self._waiting and not isinstance(self._waiting[-1][0], Tensor):
            return np.asarray(self._waiting[-1][0])[()]
        return super().current()

    def _read(self) -> None:
        if not self._waiting:
            return
        values, counts = (list(part) for part in zip(*self._waiting))
        self._waiting = []
        at = [place for place, value in enumerate(values) if isinstance(value, Tensor)]
        kinds = {(values[place].dtype, values[place].device) for place in at}
        if len(kinds) == 1:
            for place, number in zip(at, torch.stack([values[place] for place in at]).tolist()):
                values[place] = number
        else:
            for place in at:
                values[place] = values[place].item()
        self._values = np.array(values) if self._is_new else np.append(self._values, values)
        self._counts = np.array(counts) if self._is_new else np.append(self._counts, counts)
        self._is_new = False
        self._values, self._counts = self._values[-self.max_length :], self._counts[-self.max_length :]

    # All methods of the base class go by these two.
    @property
    def _log_history(self) -> np.ndarray:
        self._read()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._read()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def __deepcopy__(self, memo: dict) -> HistoryBuffer:
        plain = HistoryBuffer(max_length=self.max_length)
        plain._log_history, plain._count_history = (part.copy() for part in self.data)
        return plain

    def __reduce__(self) -> tuple:
        return self.__deepcopy__({}).__reduce__()


def keep(hub: MessageHub, key: str, value: float | Tensor) -> None:
    """Log a value as `MessageHub.update_scalar` does, without reading it."""
    history = hub.log_scalars.get(key)
    if history is None:
        hub.update_scalar(key, 0.0)  # notes that checkpoints hold it
        hub.log_scalars[key] = DeferredHistory()
    elif not isinstance(history, DeferredHistory):
        hub.log_scalars[key] = DeferredHistory(history)
    hub.log_scalars[key].update(value)


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, with losses and norms of gradients that are read when they are asked for.

    Batches are copied to the device without waiting, too.
    """

    def before_train(self, runner) -> None:
        """Note where the run stands, and let the optimizer keep the norms on the device and batches be copied without
        waiting.
        """
        super().before_train(runner)
        copy_without_waiting(runner.model)
        wrapper = runner.optim_wrapper
        for one in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
            keep_norms(one)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Keep what the model logs, and let what others log in each iteration be appended cheaply."""
        hub = runner.message_hub
        for key, value in (outputs or {}).items():
            keep(hub, f"train/{key}", value)
        for key, history in hub.log_scalars.items():
            if key.startswith("train/") and not isinstance(history, DeferredHistory):
                hub.log_scalars[key] = DeferredHistory(history)


def keep_norms(wrapper: Any) -> None:
    """Keep the norms of clipped gradients on the device: mmengine's `_clip_grad` reads what it is given, and is given
    none. A wrapper that clips by code of its own stays as it is.
    """
    clips = getattr(wrapper, "clip_grad_kwargs", None) and type(wrapper)._clip_grad is OptimWrapper._clip_grad
    if not clips or getattr(wrapper.clip_func, "keeps_norms", False):
        return
    clip = wrapper.clip_func

    def clip_and_keep(*args: Any, **options: Any) -> None:
        norm = clip(*args, **options)
        if norm is not None:
            keep(wrapper.message_hub, f"train/{wrapper.grad_name}", norm)

    clip_and_keep.keeps_norms = True  # type: ignore[attr-defined]
    wrapper.clip_func = clip_and_keep
