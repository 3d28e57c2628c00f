"""The plan of a run: the batch of a GPU, its memory, images/s, hours, and how fast the data must come."""
from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger

from mimtransfer.errors import UserError
from mimtransfer.planning.gpus import Gpu
from mimtransfer.planning.schedule import Length, length_of
from mimtransfer.planning.step import FIXED, Cost, FakeStep, Task
from mimtransfer.training.batch import batch_of
from mimtransfer.training.rescale import SWITCH, recipe_batch

GIB = 2**30
# What a process holds beside its tensors: the context of CUDA, its kernels, workspaces of cuBLAS and cuDNN.
CONTEXT = 1.0 * GIB
# Of the rest, what fragments and rounding of the allocator leave unused.
FRAGMENTS = 0.06
# Shares of the peak that training reaches; assumptions, see docs/plan.md for what they rest on.
MFU = {"pretrain": 0.35, "classification": 0.35, "segmentation": 0.25, "detection": 0.20}


class Plan(NamedTuple):
    """What a run will take."""

    config: str
    kind: str
    size: tuple[int, int]  # of an image
    amp: bool
    gpu: Gpu
    gpus: int
    batch: int  # of a GPU at once
    accumulation: int
    wanted: int  # images of a step that were asked for
    cost: Cost  # of a GPU, in an iteration of this batch
    buckets: int  # bytes that DDP holds for gradients
    largest: int  # batch that fits, without accumulation; 0: none
    checked: int  # batch of another fake step, against which the two are held
    checked_error: float  # of the line through two batches at a third, as a share
    mfu: float
    length: Length
    loaders: int  # cores or loader processes that feed all GPUs
    loaders_told: str
    notes: tuple[str, ...]

    @property
    def images_of_step(self) -> int:
        """Images of a step of the optimizer, on all GPUs."""
        return self.batch * self.accumulation * self.gpus

    @property
    def rate(self) -> float:
        """Images/s of all GPUs."""
        peak = (self.gpu.bf16 if self.amp else self.gpu.tf32) * 1e12
        return peak * self.mfu * self.gpus / (self.cost.flops / self.batch)

    @property
    def seconds(self) -> float | None:
        """Wall time of the training, without evaluations."""
        return None if self.length.images is None else self.length.images / self.rate

    @property
    def usable(self) -> float:
        """Bytes of a GPU for tensors."""
        return usable(self.gpu)


def usable(gpu: Gpu) -> float:
    """Return bytes of a GPU that tensors can take."""
    return (gpu.memory * GIB - CONTEXT) * (1 - FRAGMENTS)


def make_plan(
    config: str, cfg: Config, shipped: Config, task: Task, gpu: Gpu, gpus: int = 8, amp: bool = True,
    global_batch: int | None = None, mfu: float | None = None, images: int | None = None, cores: int | None = None,
) -> Plan:
    """Plan a run.

    Args:
        config: its name.
        cfg, shipped: with and without the options of the command line.
        task: what the config trains.
        global_batch: images of a step of the optimizer; None: the recipe's.
        mfu: share of the GPU's peak; None: `MFU` of the kind.
        images: of an epoch; None: looked up.
        cores: of the machine or machines; None: the loader processes of the config, one core each.

    Raises:
        UserError: a batch that GPUs do not divide, or not even one image fits.
    """
    kind = cfg.get("task") or "pretrain"
    wanted = global_batch or _batch_of_recipe(cfg, shipped, gpus)
    if wanted < gpus or wanted % gpus:
        raise UserError(f"--global-batch {wanted}: {gpus} GPUs do not divide it; give a multiple of {gpus}, or other "
                        "--gpus")
    share = wanted // gpus
    level = MMLogger.get_current_instance().level
    MMLogger.get_current_instance().setLevel(logging.WARNING)  # the groups of the optimizer are no news
    try:
        step = FakeStep(cfg, task, amp)
    finally:
        MMLogger.get_current_instance().setLevel(level)
    wrapper = cfg.get("model_wrapper_cfg") or {}
    buckets = step.trained_bytes if gpus > 1 and not wrapper.get("gradient_as_bucket_view") else 0
    room = usable(gpu) - buckets
    unit, most = (4, 512) if kind in ("pretrain", "classification") else (2, 16)
    search = _Search(step.run, room, unit, most)
    largest = search.largest(accumulating=False)
    batch, accumulation = share, 1
    if share > largest:
        fits = search.largest(accumulating=True)
        accumulation = next((n for n in range(2, share + 1) if share % n == 0 and share // n <= fits), 0)
        if not accumulation:
            raise UserError(f"not even one image of {task.size[0]} x {task.size[1]} fits into {gpu.memory:g} GiB: a step "
                            f"takes {search.run(1, True).peak / GIB + CONTEXT / GIB:.1f} GiB; take a GPU with more, "
                            "or with_cp=True of the backbone")
        batch = share // accumulation
    workers = cfg.train_dataloader.get("num_workers") or 1
    notes = [*task.notes]
    if step.fake.invented:
        place, _ = step.fake.invented.most_common(1)[0]
        notes.append(f"the loss reads values that depend on data, which were made up in {len(step.fake.invented)} places, "
                     f"e.g. {place}")
    return Plan(
        config, kind, task.size, amp, gpu, gpus, batch, accumulation, wanted, search.run(batch, accumulation > 1), buckets,
        largest, search.checked, search.error, MFU[kind] if mfu is None else mfu,
        length_of(cfg, shipped, batch * accumulation * gpus, accumulation, images),
        cores or workers * gpus, f"{cores} cores" if cores else f"{gpus} x {workers} loader processes of the config",
        tuple(notes))


def _batch_of_recipe(cfg: Config, shipped: Config, gpus: int) -> int:
    """Return the images of a step: the recipe's where its schedule follows the batch, else those of the run."""
    recipe = recipe_batch(shipped)
    if cfg.get(SWITCH) and recipe % gpus == 0:
        return int(recipe)
    return batch_of(cfg, gpus).images_of_step


class _Search:
    """Find the largest batch: bytes grow along a line until the optimizer runs, and do not while it runs.

    Args:
        step: a fake step, by batch and whether gradients are kept.
        room: bytes.
        unit: of batches; the line goes through one and two of it.
        most: batch up to which a fake step is run; beyond it the line is believed, since labels and boxes are real.
    """

    def __init__(self, step: Callable[[int, bool], Cost], room: float, unit: int, most: int) -> None:
        self._step, self.room, self.unit, self.most = step, room, unit, most
        self._known: dict[tuple[int, bool], Cost] = {}
        self.checked, self.error = 0, 0.0

    def run(self, batch: int, accumulating: bool) -> Cost:
        """Return the cost of a batch."""
        key = (batch, accumulating)
        if key not in self._known:
            self._known[key] = self._step(*key) if batch <= self.most else self._line(*key)
        return self._known[key]

    def _line(self, batch: int, accumulating: bool) -> Cost:
        low, high = self.run(self.unit, accumulating), self.run(2 * self.unit, accumulating)
        steps = batch / self.unit - 1

        def along(first: int, second: int) -> int:
            return round(first + (second - first) * steps)

        memory = {kind: along(low.memory[kind], high.memory[kind]) for kind in high.memory}
        if low.moment != high.moment:  # of a small batch the most is in the optimizer
            memory = {kind: size if kind in FIXED else round(size * batch / (2 * self.unit))
                      for kind, size in high.memory.items()}
        before = along(low.before_update, high.before_update)
        return Cost(along(low.flops, high.flops), memory, high.moment, before, high.update)

    def largest(self, accumulating: bool) -> int:
        """Return the largest batch that fits, by the line and a fake step at its end; 0 where none does."""
        low, high = self.run(self.unit, accumulating), self.run(2 * self.unit, accumulating)
        if high.update > self.room:
            return 0
        slope = max((high.before_update - low.before_update) / self.unit, 1.0)
        batch = math.floor(self.unit + (self.room - low.before_update) / slope)
        if batch <= 2 * self.unit:
            return max(batch, 0)
        if not accumulating:
            self.checked = min(batch, self.most)
            self.error = self._line(self.checked, False).peak / self.run(self.checked, False).peak - 1
        third = self.run(batch, accumulating)
        while batch > 0 and third.peak > self.room:  # the line was too low
            batch -= max(1, math.ceil((third.peak - self.room) / slope))
            third = self.run(max(batch, 1), accumulating)
        return max(batch, 0)
