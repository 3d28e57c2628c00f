"""Randomness and data of a resumed run: what an uninterrupted one would have drawn and shown."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from mimtransfer.datasets.sampler import EpochSampler
from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS
from mimtransfer.training.accumulation import GRADIENTS_KEY, restore_gradients
from mimtransfer.training.batch import accumulation_of
from mimtransfer.training.hooks import SeedHook, seed_process


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Let a resumed run show and draw what an uninterrupted one would have.

    In an epoch that was left in its middle, the images that have been shown are passed over without being loaded (of
    `EpochSampler`), and batches are counted on. Gradients that wait for their step are put back.

    In runs without `SeedHook`, as mmdet's and mmseg's, python, numpy and torch are seeded before each iteration and,
    where the training process itself loads the data, before each batch. Loader workers are seeded by mmengine, and what
    they have drawn until a checkpoint is drawn again when an iteration-based run is resumed. Left open are mmdet's and
    mmseg's runs by epochs whose workers persist: after a resume those begin again with the seeds of the first epoch.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._shown = 0
        self._gradients: dict | None = None
        self._seeds = True

    def before_run(self, runner) -> None:
        """Let mmengine's loop begin within an epoch; whatever the config calls it, it is built by now."""
        if type(runner._train_loop) is EpochBasedTrainLoop:
            runner._train_loop.__class__ = EpochLoop

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note how far the epoch of the checkpoint had come, and the gradients in flight."""
        gradients = checkpoint.pop(GRADIENTS_KEY, None)
        if runner._resume:
            self._shown = (checkpoint.get("meta") or {}).get("images_of_epoch", 0)
            self._gradients = gradients

    def before_train(self, runner) -> None:
        """Look at the other hooks, and let each batch begin with a state of its own."""
        self._seeds = not any(isinstance(hook, SeedHook) for hook in runner.hooks)
        loop = runner.train_loop
        if self._seeds and hasattr(loop, "dataloader_iterator") and loop.dataloader.num_workers == 0:
            loop.dataloader_iterator = _SeededBatches(loop.dataloader_iterator, runner.seed or 0)
        if self._gradients and runner.iter % accumulation_of(runner.cfg):
            restore_gradients(runner, self._gradients)
        self._gradients = None

    def before_train_epoch(self, runner) -> None:
        """Pass over the images that have been shown; seed what is drawn before the first iteration."""
        if self._seeds:
            seed_all(runner.seed or 0, runner.iter, 1)
        if not self._shown:
            return
        shown, self._shown = self._shown, 0
        if not can_begin_within(runner) or shown % images_of_step(runner):
            raise UserError(f"--resume: the checkpoint was saved {shown} images into an epoch, which the batch of "
                            f"{images_of_step(runner)} images does not divide; go on with the batch and the processes "
                            "of the run before, or from a checkpoint of a whole epoch")
        runner.train_dataloader.sampler.skip = shown // get_world_size()
        if isinstance(runner.train_loop, EpochLoop):
            runner.train_loop.first = shown // images_of_step(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed; see the class."""
        if self._seeds:
            seed_all(runner.seed or 0, runner.iter, 0)


class EpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, whose first epoch may begin with a later batch: `first`, once.

    The number of a batch says when to log, and which values a smoothed loss is the mean of.
    """

    first = 0

    def run_epoch(self) -> None:
        """Train an epoch."""
        super().run_epoch()
        self.first = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train with a batch."""
        super().run_iter(self.first + idx, data_batch)


class _SeededBatches:
    """An iterator that is seeded before each batch by its number."""

    def __init__(self, batches: Iterator, seed: int) -> None:
        self._batches, self._seed, self._number = batches, seed, 0

    def __iter__(self) -> _SeededBatches:
        return self

    def __next__(self) -> Any:
        seed_all(self._seed, self._number, 1)
        self._number += 1
        return next(self._batches)


def seed_all(seed: int, number: int, stream: int) -> None:
    """Seed python, numpy and torch from (run seed, rank, number, stream)."""
    seed_process(seed, get_rank(), number, stream)


def images_of_step(runner) -> int:
    """Return how many images all processes show in one iteration."""
    return runner.train_dataloader.batch_size * get_world_size()


def can_begin_within(runner) -> bool:
    """Say whether the data of a run can be shown from the middle of an epoch on."""
    return isinstance(runner.train_dataloader.sampler, EpochSampler) and bool(runner.train_dataloader.batch_size)
