"""Write a checkpoint while training goes on: its state is copied to the host, and one thread writes the copy."""
from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.utils import get_git_hash
from torch import Tensor

from mimtransfer import interruption

_TEXTS: dict[str, str] = {}  # of the config of the run


class BackgroundWriter:
    """A thread that writes one file at a time.

    Interpreter and `clean_exit` wait for it. What it raises is raised in the main thread, by the next look.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Write in the background, after what is being written."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint writer", daemon=False)
        interruption.finish_first(self.wait)
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong, once; waits for nothing."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until all is written, and raise what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            interruption.finish_first(None)
        self.check()

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # for the main thread
            self._error = error


def content(runner: Any, meta: dict, save_optimizer: bool, save_param_scheduler: bool) -> dict[str, Any]:
    """Return what `Runner.save_checkpoint` of mmengine writes, with the tensors where they are.

    mmengine's copies them to the host one by one, and waits for each. On the first rank only.
    """
    meta.update(cfg=_text(runner.cfg), seed=runner.seed, experiment_name=runner.experiment_name,
                time=time.strftime("%Y%m%d_%H%M%S", time.localtime()),
                mmengine_version=mmengine.__version__ + get_git_hash())
    if hasattr(runner.train_dataloader.dataset, "metainfo"):
        meta["dataset_meta"] = runner.train_dataloader.dataset.metainfo
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    found = dict(meta=meta, state_dict=model.state_dict(), message_hub=runner.message_hub.state_dict())
    if save_optimizer:
        found["optimizer"] = runner.optim_wrapper.state_dict()
    schedulers = runner.param_schedulers if save_param_scheduler else None
    if isinstance(schedulers, dict):
        found["param_schedulers"] = {name: [one.state_dict() for one in part] for name, part in schedulers.items()}
    elif schedulers is not None:
        found["param_schedulers"] = [one.state_dict() for one in schedulers]
    runner.call_hook("before_save_checkpoint", checkpoint=found)
    return found


def host_copy(state: Any) -> tuple[Any, Callable[[], None]]:
    """Copy a state to the host, and all that is no tensor with it, so that nothing that follows changes it.

    Tensors that share memory do so in the copy. From a GPU the copies go to pinned memory without waiting: they stand
    in the stream before what training does next.

    Returns:
        the copy, and a function that waits until its tensors are there.
    """
    memory: dict[tuple, torch.UntypedStorage] = {}
    copies: dict[int, Any] = {}  # as `copy.deepcopy` notes what it has copied
    for tensor in _tensors(state):
        plain = tensor.detach()
        storage = plain.untyped_storage()
        key = (storage.device, storage.data_ptr(), storage.nbytes())
        if key not in memory:
            memory[key] = _copied(storage)
        host = torch.empty(0, dtype=plain.dtype)
        copies[id(tensor)] = host.set_(memory[key], plain.storage_offset(), plain.shape, plain.stride())
    ready: Callable[[], None] = _nothing
    if any(device.type == "cuda" for device, *_ in memory):
        event = torch.cuda.Event()
        event.record()
        ready = event.synchronize
    return copy.deepcopy(state, copies), ready


def write_tensors(state: Any, path: str) -> None:
    """Write a state as `torch.save` does.

    Raises:
        OSError: there is no room. `torch.save` raises a RuntimeError about a position instead.
    """
    with open(path, "wb") as file:
        target: Any = _Remembering(file)
        try:
            torch.save(state, target)
        except RuntimeError:
            if target.error is not None:
                raise target.error from None
            raise


class _Remembering:
    """A file that remembers the error of a write."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _nothing() -> None:
    """There is nothing to wait for."""


def _text(cfg: Config) -> str:
    """Return a config as text. To make that of a detector pretty takes a third of a second, so it is kept."""
    key = str(cfg)
    if key not in _TEXTS:
        _TEXTS.clear()
        _TEXTS[key] = cfg.pretty_text
    return _TEXTS[key]


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    children = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [tensor for child in children for tensor in _tensors(child)]


def _copied(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    if storage.device.type == "cpu":
        return storage.clone()
    target = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=storage.device.type == "cuda")
    source = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    return target.copy_(source, non_blocking=True).untyped_storage()
