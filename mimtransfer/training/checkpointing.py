"""Save checkpoints so that a run can always go on: a new file is whole before an old one goes, and two are kept.

mmengine's hook deletes the oldest checkpoint, writes the new one under its own name, then notes that name. Killed in
between, or on a full disk, a run that keeps one has none.
"""
from __future__ import annotations

import os.path as osp
from collections import deque
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop

from mimtransfer import interruption
from mimtransfer.errors import UserError, near_matches
from mimtransfer.files import write_atomically
from mimtransfer.interruption import POINTER
from mimtransfer.registry import HOOKS
from mimtransfer.training.accumulation import GRADIENTS_KEY, gradients_in_flight
from mimtransfer.training.background import BackgroundWriter, content, host_copy, write_tensors
from mimtransfer.training.batch import accumulation_of
from mimtransfer.training.exact_resume import can_begin_within, images_of_step
from mimtransfer.training.finite_loss import FiniteLossHook
from mimtransfer.training.whole_files import PART, one_line, published

_RECENT = "recent_checkpoints"  # in the message hub: names in order, and whether a later one replaces it
_ASK = 10  # iterations between asking the other processes whether a signal has come


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """Save as mmengine's `CheckpointHook` does, with the same options, but lose nothing in doing so.

    A file is written beside its place and renamed; then `last_checkpoint` names it; then old ones are removed. Losses
    and weights are looked at before (`FiniteLossHook`), so every file that is kept is good. Of files, not of folders
    and not of other stores than the file system.

    In a run by epochs of an `EpochSampler`, a checkpoint may be saved within an epoch (`iter_interval`, or
    `by_epoch=False`): a run that is resumed from it goes on with the next image of that epoch. Where gradients are
    accumulated, it is saved with the next step of the optimizer.

    Args:
        max_keep_ckpts: as in mmengine, but at least two are kept: the older one survives what the newer one suffers.
        save_on_signal: on SIGTERM or SIGHUP save after the running iteration, then stop; exact to resume.
        iter_interval: in a run by epochs, iterations between checkpoints beside those of whole epochs. The two newest
            of all are there at any time; the end of the training removes those within an epoch.
        async_save: training goes on while a copy of the checkpoint is written. An error of the writing is raised
            after the next iteration. Not with FSDP.
        options: those of mmengine's hook.

    Raises:
        UserError: a checkpoint cannot be written, or the data of the run cannot be gone on with within an epoch.
    """

    keep_ckpt_ids: deque
    backend_args: dict | None
    by_epoch: bool

    def __init__(self, *args: Any, max_keep_ckpts: int = -1, save_on_signal: bool = False,
                 iter_interval: int | None = None, async_save: bool = False, **options: Any) -> None:
        super().__init__(*args, max_keep_ckpts=max(max_keep_ckpts, 2) if max_keep_ckpts > 0 else -1, **options)
        if self.args:  # mmengine hands them to the first save, which takes none
            known = [name for kind in (WholeCheckpointHook, CheckpointHook) for name in signature(kind).parameters]
            name = next(iter(self.args))
            raise UserError(f"default_hooks.checkpoint takes no key {name!r}; {near_matches(name, known)}".rstrip("; "))
        if iter_interval is not None and (iter_interval < 1 or not self.by_epoch):
            raise UserError(f"WholeCheckpointHook: got iter_interval={iter_interval}, by_epoch={self.by_epoch}; "
                            "expected 1 or more, beside checkpoints by epochs; else `interval` says it")
        self.save_on_signal, self.iter_interval, self.async_save = save_on_signal, iter_interval, async_save
        self._wanted, self._saved_at = max_keep_ckpts, -1
        self._recent: list[tuple[str, bool]] = []
        self._gradients: dict[str, torch.Tensor] | None = None
        self._writer = BackgroundWriter()

    def before_train(self, runner) -> None:
        """Remove what a killed save left, and let paths follow a work dir that was moved."""
        if self.backend_args is None and self.file_client_args is None and "://" not in str(self.out_dir):
            self.backend_args = dict(backend="mimtransfer.whole_files")
        elif self.async_save:
            raise UserError("async_save writes files of this machine: take backend_args and file_client_args out of "
                            "default_hooks.checkpoint, or async_save")
        super().before_train(runner)
        if self._wanted == 1:
            runner.logger.info("max_keep_ckpts=1: two checkpoints are kept, so that one outlives a failing save")
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)
        if self.save_best is not None:
            self._follow_move()
        if is_main_process() and osp.isdir(self.out_dir):
            for path in Path(self.out_dir).glob(f".*.pth{PART}"):
                path.unlink(missing_ok=True)
        self._recent = [(name, within) for name, within in runner.message_hub.runtime_info.get(_RECENT, [])]
        if self._loops_by_epoch(runner) and (self.iter_interval or not self.by_epoch) and not can_begin_within(runner):
            raise UserError("checkpoints by iterations in a run by epochs: only an EpochSampler can go on within an "
                            "epoch; save by epochs (by_epoch=True, no iter_interval, no --save-every-iters), or set "
                            "train_dataloader.sampler.type=EpochSampler")
        if self.async_save and hasattr(runner, "strategy"):
            runner.logger.warning("async_save: not with --fsdp, whose state is gathered from all processes")
            self.async_save = False
        interruption.begin(runner.work_dir, delay=self.save_on_signal)

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Save when it is time, or when a signal has come."""
        self._writer.check()
        if not self._loops_by_epoch(runner):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
        elif not self.end_of_epoch(runner.train_dataloader, batch_idx) and self._is_due(runner, runner.iter + 1):
            self._save_within(runner, batch_idx)
        if self.save_on_signal and self._is_asked(runner):
            self._save_and_stop(runner, batch_idx)

    def after_train_epoch(self, runner) -> None:
        """Save when it is time, or when a signal has come with the last iteration."""
        super().after_train_epoch(runner)
        if not self._loops_by_epoch(runner):
            return
        last = not self.by_epoch and self.save_last and self.is_last_train_epoch(runner)
        stop = self.save_on_signal and any_process(interruption.requested())
        if self._saved_at != runner.iter and (last or stop or self._is_due(runner, runner.iter)):
            meta = dict(epoch=runner.epoch + 1, iter=runner.iter)
            if stop or not self.by_epoch:
                self._save_checkpoint_with_step(runner, runner.epoch + 1 if self.by_epoch else runner.iter, meta)
            else:
                self._save_beside(runner, meta)
        if stop:
            self._writer.wait()
            interruption.stop()

    def after_train(self, runner) -> None:
        """Publish as mmengine does; from here on a signal stops at once."""
        self._writer.wait()
        if is_main_process() and self._recent and not self._recent[-1][1]:
            self._remove_all([name for name, within in self._recent if within])
        interruption.end_delay()
        super().after_train(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the gradients that wait for their step."""
        if self._gradients:
            checkpoint[GRADIENTS_KEY] = self._gradients

    def _loops_by_epoch(self, runner) -> bool:
        return isinstance(runner.train_loop, EpochBasedTrainLoop)

    def _is_due(self, runner, done: int) -> bool:
        """Say whether the time for a checkpoint came with the last step of the optimizer."""
        every: int | None
        every, begin = (self.iter_interval, 0) if self.by_epoch else (self.interval, self.save_begin)
        step, since = accumulation_of(runner.cfg), done - begin
        if every is None or every < 1 or since < 0 or done % step:
            return False
        return since // every > (since - step) // every

    def _is_asked(self, runner) -> bool:
        """Say whether to save after this iteration; every process says the same."""
        if (runner.iter + 1) % accumulation_of(runner.cfg):
            return False  # the step that these gradients wait for is near
        # To ask the others waits for the device.
        return runner.iter % _ASK == 0 and any_process(interruption.requested()) if runner.distributed else (
            interruption.requested())

    def _save_and_stop(self, runner, batch_idx: int) -> None:
        """Save after any iteration, and stop."""
        if self._loops_by_epoch(runner):
            if self.end_of_epoch(runner.train_dataloader, batch_idx):
                return  # after_train_epoch saves
            if not can_begin_within(runner):  # its data set is shown from the beginning of an epoch only
                runner.logger.warning("no checkpoint within an epoch: the sampler of this run is no EpochSampler")
            elif self._saved_at != runner.iter + 1:
                self._save_within(runner, batch_idx)
        elif self._saved_at != runner.iter + 1:
            self._save_checkpoint(runner)
        self._writer.wait()
        interruption.stop()

    def _save_within(self, runner, batch_idx: int) -> None:
        """Save within an epoch."""
        images = (batch_idx + 1) * images_of_step(runner)
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1, images_of_epoch=images)
        runner.logger.info(f"Saving checkpoint at {runner.iter + 1} iterations, {images} images into the epoch")
        if self.by_epoch:
            self._save_beside(runner, meta)
        else:
            self._save_checkpoint_with_step(runner, runner.iter + 1, meta)

    def _save_beside(self, runner, meta: dict) -> None:
        """Save a checkpoint that is removed when there are two newer ones."""
        name = f"iter_{meta['iter']}.pth"
        self._write(runner, name, meta, self._note(runner, name, True))

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated: list[int] = []
        if self.max_keep_ckpts > 0:
            ids = [number for number in self.keep_ckpt_ids if number != step] + [step]
            outdated, ids = ids[: -self.max_keep_ckpts], ids[-self.max_keep_ckpts :]
            # With those to be removed: a run that is killed before it removes them does so when it is resumed.
            runner.message_hub.update_info("keep_ckpt_ids", [*outdated, *ids])
            self.keep_ckpt_ids = deque(ids)
        name = self.filename_tmpl.format(step)
        names = self._note(runner, name, False)
        self._write(runner, name, meta, [*map(self.filename_tmpl.format, outdated), *names])

    def _note(self, runner, name: str, within: bool) -> list[str]:
        """Return the names of the checkpoints within an epoch that are not needed when `name` is there."""
        self._recent = [entry for entry in self._recent if entry[0] != name] + [(name, within)]
        runner.message_hub.update_info(_RECENT, [list(entry) for entry in self._recent])  # with those to be removed
        outdated = [other for other, extra in self._recent[:-2] if extra]
        self._recent = self._recent[-2:]
        return outdated

    def _write(self, runner, name: str, meta: dict, outdated: list[str]) -> None:
        self._writer.wait()
        for hook in runner.hooks:
            if isinstance(hook, FiniteLossHook):
                hook.before_save(runner)
        path = self.file_backend.join_path(self.out_dir, name)
        self.last_ckpt, self._saved_at = path, meta["iter"]
        runner.message_hub.update_info("last_ckpt", path)
        self._gradients = gradients_in_flight(runner, meta["iter"])

        def finish() -> None:
            write_atomically(osp.join(runner.work_dir, POINTER), path)
            self._remove_all(outdated)

        if self.async_save:
            if is_main_process():
                saved, ready = host_copy(content(runner, meta, self.save_optimizer, self.save_param_scheduler))

                def save() -> None:
                    with one_line(path, runner.work_dir):
                        ready()
                        with published(path) as part:
                            write_tensors(saved, part)
                        finish()

                self._writer.start(save)
        else:
            with one_line(path, runner.work_dir):
                runner.save_checkpoint(
                    self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
                    save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=meta["iter"] == runner.iter,
                    backend_args=self.backend_args)  # fmt: skip
                if is_main_process():
                    finish()
        self._gradients = None

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

    def _remove_all(self, names: list[str]) -> None:
        for name in names:
            self._remove(self.file_backend.join_path(self.out_dir, name))

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)


def any_process(flag: bool) -> bool:
    """Say whether the flag is set in any process of the run; all of them ask."""
    found = torch.tensor(float(flag))
    all_reduce(found, op="max")
    return bool(found)
