"""The plan of a run: the batch of a GPU, its memory, images/s, hours, and how fast the data must come."""
from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
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
MFU = {"pretrain": 0.30, "classification": 0.30, "segmentation": 0.20, "depth": 0.20, "detection": 0.10}


LAUNCH_BOUND = 0.01  # seconds of a step; launching its kernels takes about as long


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
    work: float = 1.0  # operations of a mean image of the run over those of `cost`

    @property
    def images_of_step(self) -> int:
        """Images of a step of the optimizer, on all GPUs."""
        return self.batch * self.accumulation * self.gpus

    @property
    def rate(self) -> float:
        """Images/s of all GPUs."""
        return self.gpus * rate_of(self.gpu, self.amp, self.mfu, self.cost.flops / self.batch)

    @property
    def seconds(self) -> float | None:
        """Wall time of the training, without evaluations."""
        return None if self.length.images is None else self.length.images * self.work / self.rate

    @property
    def usable(self) -> float:
        """Bytes of a GPU for tensors."""
        return usable(self.gpu)


def rate_of(gpu: Gpu, amp: bool, mfu: float, flops: float) -> float:
    """Return images/s of a GPU that does `flops` operations for an image."""
    return (gpu.bf16 if amp else gpu.tf32) * 1e12 * mfu / flops


def quick_seconds(cfg: Config, shipped: Config, task: Task, gpu: Gpu, gpus: int, amp: bool) -> float | None:
    """Return the seconds of a training by the operations of one small batch; None: the data set's size is not known."""
    kind = cfg.get("task") or "pretrain"
    batch = batch_of(cfg, gpus)
    images = length_of(cfg, shipped, batch.images_of_step, batch.accumulation).images
    if images is None:
        return None
    with quiet():
        cost = FakeStep(cfg, task, amp).run(2)
    return images / (gpus * rate_of(gpu, amp, MFU[kind], cost.flops / 2))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the groups of the optimizer not be logged."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


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
    with quiet():
        step = FakeStep(cfg, task, amp)
    wrapper = cfg.get("model_wrapper_cfg") or {}
    buckets = step.trained_bytes if gpus > 1 and not wrapper.get("gradient_as_bucket_view") else 0
    room = usable(gpu) - buckets
    unit, most = {"detection": (2, 16), "segmentation": (2, 64), "depth": (2, 64)}.get(kind, (8, 4096))
    multiple = 2 if cfg.model.get("mixup") else 1  # mixup takes pairs
    search = Search(step.run, room, unit, most, multiple)
    largest = search.largest(accumulating=False)
    batch, accumulation = share, 1
    if share > largest:
        fits = search.largest(accumulating=True)
        accumulation = next((n for n in range(2, share + 1) if share % n == 0 and share // n <= fits
                             and share // n % multiple == 0), 0)
        if not accumulation:
            needed = (search.run(unit, True).peak + buckets + CONTEXT) / GIB
            raise UserError(f"{share} images a GPU do not fit into {gpu.memory:g} GiB, in whatever parts: {unit} "
                            f"images of {task.size[0]} x {task.size[1]} take {needed:.1f} GiB; take a larger GPU"
                            f"{_recompute(cfg)}")
        batch = share // accumulation
    workers = cfg.train_dataloader.get("num_workers") or 1
    notes = [*task.notes]
    if step.fake.invented:
        place, _ = step.fake.invented.most_common(1)[0]
        notes.append(f"values that the loss reads from the device were made up, in {len(step.fake.invented)} places, "
                     f"e.g. {place}")
    plan = Plan(
        config=config, kind=kind, size=task.size, amp=amp, gpu=gpu, gpus=gpus, batch=batch, accumulation=accumulation,
        cost=search.run(batch, accumulation > 1), buckets=buckets, largest=largest, checked=search.checked,
        checked_error=search.error, mfu=MFU[kind] if mfu is None else mfu,
        length=length_of(cfg, shipped, wanted, accumulation, images), loaders=cores or workers * gpus,
        loaders_told=f"{cores} cores" if cores else f"{gpus} x {workers} loader processes of the config",
        notes=tuple(notes))
    if batch * gpus / plan.rate < LAUNCH_BOUND:
        told = "so small a model waits for its kernels to be launched: images/s is an upper bound"
        plan = plan._replace(notes=(*plan.notes, told))
    return plan


def _recompute(cfg: Config) -> str:
    """Name the option that makes the backward pass recompute blocks, where the model has it and does not do so yet."""
    part = "backbone" if "backbone" in cfg.model else "encoder"
    node = cfg.model.get(part) or {}
    kind = str(node.get("type")).rpartition(".")[2]
    if kind not in ("TimmViT", "TimmSwin") or node.get("grad_checkpointing"):
        return ""
    return f", or model.{part}.grad_checkpointing=True"


def _batch_of_recipe(cfg: Config, shipped: Config, gpus: int) -> int:
    """Return the images of a step: the recipe's where its schedule follows the batch, else those of the run."""
    recipe = recipe_batch(shipped)
    if cfg.get(SWITCH) and recipe % gpus == 0:
        return int(recipe)
    return batch_of(cfg, gpus).images_of_step


class Search:
    """Find the largest batch that fits.

    Until the optimizer runs, bytes grow along a line with the batch, from a size on at which what grows outweighs the
    gradients; while it runs they are the same for all. So the line goes through a batch that about fits, and its half.

    Args:
        step: a fake step, by batch and whether gradients are kept.
        room: bytes.
        unit: smallest batch that is tried; batches are even where it is above 1.
        most: batch up to which a fake step is run; beyond it the line is believed, since labels and boxes are real.
        multiple: of which a batch has to be.
    """

    def __init__(
        self, step: Callable[[int, bool], Cost], room: float, unit: int, most: int, multiple: int = 1
    ) -> None:
        self._step, self.room, self.unit, self.most, self.multiple = step, room, unit, most, multiple
        self._known: dict[tuple[int, bool], Cost] = {}
        self._ends: dict[bool, tuple[int, int]] = {}
        self.checked, self.error = 0, 0.0

    def run(self, batch: int, accumulating: bool) -> Cost:
        """Return the cost of a batch."""
        key = (batch, accumulating)
        if key not in self._known:
            self._known[key] = self._step(*key) if batch <= self.most else self.line(*key)
        return self._known[key]

    def line(self, batch: int, accumulating: bool) -> Cost:
        """Return the cost of a batch by the line."""
        first, second = self.ends(accumulating)
        low, high = self.run(first, accumulating), self.run(second, accumulating)
        part = (batch - first) / (second - first)

        def along(start: float, end: float) -> int:
            return round(start + (end - start) * part)

        memory = {kind: along(low.memory[kind], high.memory[kind]) for kind in high.memory}
        before = along(low.before_update, high.before_update)
        return Cost(along(low.flops, high.flops), memory, high.moment, before, high.update)

    def ends(self, accumulating: bool) -> tuple[int, int]:
        """Return the two batches that the line goes through."""
        if accumulating not in self._ends:
            probe = self.run(self.unit, accumulating)
            each = (probe.before_update - sum(probe.memory[kind] for kind in FIXED)) / self.unit
            about = (self.room - probe.before_update) / max(each, 1.0) + self.unit
            end = max(min(int(about), self.most) // 2 * 2, 2 * self.unit)
            self._ends[accumulating] = max(end // 4 * 2, self.unit), end
        return self._ends[accumulating]

    def largest(self, accumulating: bool) -> int:
        """Return the largest batch that fits, 0 where none does.

        The line says where it is, fake steps whether it is so. Bytes grow faster and faster, if at all, so a batch that
        fits with less to spare than the line wants for the next is the largest.
        """
        fits, fails = 0, None
        slope, estimate = self._solve(accumulating)
        if estimate > self.most:  # it is believed only if it goes through the largest batches that are run
            self._ends[accumulating] = self.most // 2, self.most
            slope, estimate = self._solve(accumulating)
            self._check(self._whole(self.most * 3 / 4))
        while True:
            batch = self._whole(estimate if fails is None else min(estimate, fails - 1))
            if batch <= fits or batch < self.unit or batch > self.most:
                return max(fits, batch, 0)
            peak = self.run(batch, accumulating).peak
            if not accumulating:
                self._check(batch)
            if peak <= self.room:
                fits = batch
            else:
                fails = batch
            if fits and fails:
                rise = self.run(fails, accumulating).peak - self.run(fits, accumulating).peak
                slope = max(rise / (fails - fits), 1.0)
            estimate = batch + (self.room - peak) / slope

    def _check(self, batch: int) -> None:
        """Hold the line against a third batch, once."""
        if not self.checked:
            self.checked, self.error = batch, self.line(batch, False).peak / self.run(batch, False).peak - 1

    def _solve(self, accumulating: bool) -> tuple[float, float]:
        """Return the bytes of one image more, and the batch at which the line meets the room; 0 where none does."""
        first, second = self.ends(accumulating)
        low, high = self.run(first, accumulating), self.run(second, accumulating)
        slope = max((high.before_update - low.before_update) / (second - first), 1.0)
        return slope, first + (self.room - low.before_update) / slope if high.update <= self.room else 0.0

    def _whole(self, batch: float) -> int:
        return math.floor(batch) // self.multiple * self.multiple
