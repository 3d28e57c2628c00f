"""Save checkpoints so that a run can always go on: a new file is whole before an old one goes, and two are kept.

mmengine's hook deletes the oldest checkpoint, writes the new one under its own name, then notes that name. Killed in
between, or on a full disk, a run that keeps one has none.
"""
from __future__ import annotations

import contextlib
import os
import os.path as osp
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook

from mimtransfer import interruption
from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.interruption import POINTER
from mimtransfer.registry import HOOKS
from mimtransfer.training.exact_resume import can_begin_within, images_of_step
from mimtransfer.training.finite_loss import FiniteLossHook

_PART = ".part"  # what a killed save leaves; removed at the next start
_WITHIN = "checkpoint_within_epoch"  # in the message hub
_ASK = 10  # iterations between asking the other processes whether a signal has come


@register_backend("mimtransfer.whole_files")
class WholeFiles(LocalBackend):
    """Files of this machine, each written beside its place and then renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file in a single step."""
        os.makedirs(osp.dirname(filepath) or ".", exist_ok=True)
        with published(filepath) as part, open(part, "wb") as file:
            file.write(obj)


@contextlib.contextmanager
def published(path: str | os.PathLike) -> Iterator[str]:
    """Yield a name beside `path` to write to; what lies there at the end takes the place of `path` in a single step."""
    folder, name = osp.split(os.fspath(path))
    part = osp.join(folder, f".{name}{_PART}")
    try:
        yield part
        if not osp.exists(part):  # another process writes
            return
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # a crash of the machine must not leave an empty file behind the new name
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """Save as mmengine's `CheckpointHook` does, with the same options, but lose nothing in doing so.

    A file is written beside its place and renamed; then `last_checkpoint` names it; then old ones are removed. Losses
    and weights are looked at before (`FiniteLossHook`), so every file that is kept is good. Of files, not of folders
    and not of other stores than the file system.

    Args:
        max_keep_ckpts: as in mmengine, but at least two are kept: the older one survives what the newer one suffers.
        save_on_signal: on SIGTERM or SIGHUP save after the running iteration, then stop; exact to resume.
        options: those of mmengine's hook.

    Raises:
        UserError: a checkpoint cannot be written.
    """

    keep_ckpt_ids: deque
    backend_args: dict | None
    by_epoch: bool

    def __init__(self, *args: Any, max_keep_ckpts: int = -1, save_on_signal: bool = False, **options: Any) -> None:
        super().__init__(*args, max_keep_ckpts=max(max_keep_ckpts, 2) if max_keep_ckpts > 0 else -1, **options)
        self.save_on_signal = save_on_signal
        self._wanted, self._within = max_keep_ckpts, None

    def before_train(self, runner) -> None:
        """Remove what a killed save left, and let paths follow a work dir that was moved."""
        if self.backend_args is None and self.file_client_args is None and "://" not in str(self.out_dir):
            self.backend_args = dict(backend="mimtransfer.whole_files")
        super().before_train(runner)
        if self._wanted == 1:
            runner.logger.info("max_keep_ckpts=1: two checkpoints are kept, so that one outlives a failing save")
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)
        if self.save_best is not None:
            self._follow_move()
        if is_main_process() and osp.isdir(self.out_dir):
            for path in Path(self.out_dir).glob(f".*.pth{_PART}"):
                path.unlink(missing_ok=True)
        # Saved on a signal; the next regular checkpoint replaces it.
        hub = runner.message_hub.runtime_info
        self._within = hub.pop(_WITHIN) if _WITHIN in hub else None
        interruption.begin(runner.work_dir, delay=self.save_on_signal)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Save when it is time, or when a signal has come."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.save_on_signal and self._is_asked(runner):
            self._save_within(runner, batch_idx)

    def after_train_epoch(self, runner) -> None:
        """Save when it is time, or when a signal has come with the last iteration."""
        super().after_train_epoch(runner)
        if self.save_on_signal and self.by_epoch and any_process(interruption.requested()):
            if self.last_ckpt != self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(runner.epoch + 1)):
                self._save_checkpoint(runner)
            interruption.stop()

    def after_train(self, runner) -> None:
        """Publish as mmengine does; from here on a signal stops at once."""
        interruption.end_delay()
        super().after_train(runner)

    def _is_asked(self, runner) -> bool:
        """Say whether to save after this iteration; every process says the same."""
        if (runner.iter + 1) % runner.cfg.optim_wrapper.get("accumulative_counts", 1):
            return False  # gradients that wait for their step are in no checkpoint
        # To ask the others waits for the device.
        return runner.iter % _ASK == 0 and any_process(interruption.requested()) if runner.distributed else (
            interruption.requested())

    def _save_within(self, runner, batch_idx: int) -> None:
        """Save after any iteration, and stop."""
        step = runner.iter + 1
        if not self.by_epoch:
            if self.last_ckpt != self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step)):
                self._save_checkpoint(runner)
            interruption.stop()
        if not can_begin_within(runner):  # its data set is shown from the beginning of an epoch only
            runner.logger.warning("no checkpoint within an epoch: the sampler of this run is no EpochSampler")
            interruption.stop()
        within = step - runner.epoch * len(runner.train_dataloader)
        if within == len(runner.train_dataloader):
            return  # after_train_epoch saves
        meta = dict(epoch=runner.epoch, iter=step, images_of_epoch=within * images_of_step(runner))
        runner.message_hub.update_info(_WITHIN, f"iter_{step}.pth")
        self.by_epoch = False  # or the Runner would count the epoch as done
        self._write(runner, f"iter_{step}.pth", meta)
        interruption.stop()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            ids = [number for number in self.keep_ckpt_ids if number != step] + [step]
            outdated, ids = ids[: -self.max_keep_ckpts], ids[-self.max_keep_ckpts :]
            # With those to be removed: a run that is killed before it removes them does so when it is resumed.
            runner.message_hub.update_info("keep_ckpt_ids", [*outdated, *ids])
            self.keep_ckpt_ids = deque(ids)
        self._write(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            for number in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(number)))
            if self._within:
                self._remove(self.file_backend.join_path(self.out_dir, self._within))
                self._within = None

    def _write(self, runner, name: str, meta: dict) -> None:
        for hook in runner.hooks:
            if isinstance(hook, FiniteLossHook):
                hook.before_save(runner)
        path = self.file_backend.join_path(self.out_dir, name)
        with one_line(path, runner.work_dir):
            self.last_ckpt = path
            runner.message_hub.update_info("last_ckpt", path)
            runner.save_checkpoint(
                self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
                backend_args=self.backend_args, **self.args)  # fmt: skip
            if is_main_process():
                write_atomically(osp.join(runner.work_dir, POINTER), path)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save the best as mmengine does, but remove the one before afterwards."""
        if not self.save_best:
            return
        before = self._best()
        self._set_best(dict.fromkeys(before))  # what mmengine does not know it cannot remove
        try:
            with one_line(osp.join(self.out_dir, "best_*.pth"), runner.work_dir):
                super()._save_best_checkpoint(runner, metrics)
        finally:
            now = self._best()
            self._set_best({key: now.get(key) or before.get(key) for key in {**before, **now}})
        for key, path in before.items():
            if path and now.get(key) and now[key] != path and path not in self._best().values() and is_main_process():
                self._remove(path)

    def _best(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:  # whose name mmengine may change: "auto"
            return {"": self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = next((path for path in paths.values() if path), None)
        else:
            self.best_ckpt_path_dict = paths

    def _follow_move(self) -> None:
        self._set_best({key: path and self.file_backend.join_path(self.out_dir, osp.basename(path))
                        for key, path in self._best().items()})

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)


@contextlib.contextmanager
def one_line(path: str, work_dir: str) -> Iterator[None]:
    """Turn an OSError of a save into a line that says what is still intact.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        newest = newest_checkpoint(work_dir)
        intact = f"{newest} is whole" if newest else "no checkpoint was saved before"
        raise UserError(f"{error.filename or path} cannot be written ({error.strerror or error}); {intact}: make room, "
                        "or fix the place, then go on with --resume") from error


def any_process(flag: bool) -> bool:
    """Say whether the flag is set in any process of the run; all of them ask."""
    found = torch.tensor(float(flag))
    all_reduce(found, op="max")
    return bool(found)
