"""Stop a run whose loss or weights are no longer numbers, before it saves or scores them."""
from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import Tensor, nn

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS

_SHOWN = 4  # images named in the line


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Raise when a loss or a weight is infinite or not a number.

    The losses of every iteration stay on the device until they are looked at: a look waits for the GPU. There is one
    each `interval` iterations, one before each checkpoint and each evaluation, and one at the end, so that no bad
    weights are saved, scored or recorded. The line names the first bad iteration, wherever the look is.

    Args:
        interval: iterations between looks.

    Raises:
        UserError: at the first look that finds such a loss or weight.
    """

    def __init__(self, interval: int = 50):
        self.interval = interval
        self._iteration = 0
        self._kept: list[tuple[int, dict[str, Tensor], Any]] = []  # iteration, losses, what its images are

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Keep the losses of this iteration, and look when it is time."""
        losses = {name: value.detach() for name, value in (outputs or {}).items()
                  if "loss" in name and isinstance(value, Tensor)}
        self._iteration = runner.iter + 1
        self._kept.append((self._iteration, losses, _image_marks(data_batch)))
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def before_save(self, runner) -> None:
        """Look at losses and weights; `WholeCheckpointHook` calls it on every rank before it writes."""
        self._look(runner)
        self._check_weights(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Look at the losses on the rank that saves, whichever hook does it: mmengine calls it on the first rank."""
        self._look(runner, together=False)

    def before_val(self, runner) -> None:
        """Let no score come from such weights."""
        self._look(runner)
        self._check_weights(runner)

    def after_train(self, runner) -> None:
        """Look at what is left."""
        self._look(runner)
        self._check_weights(runner)

    def _look(self, runner, together: bool = True) -> None:
        """Raise on every rank alike, for the first bad iteration of any.

        Args:
            together: all ranks look now.
        """
        kept, self._kept = self._kept, []
        first = _first_bad(kept)
        iteration = torch.tensor(kept[first][0] if first is not None else 1 << 62)
        if together:
            all_reduce(iteration, op="min")
        if int(iteration) == 1 << 62:
            return
        number, found, images = int(iteration), "a loss of another process is not finite", ""
        if first is not None and kept[first][0] == number:
            losses = {name: value.float().mean().item() for name, value in kept[first][1].items()}
            bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
            parts = [f"{name} is {value}" for name, value in bad.items() if name != "loss"]
            found = ", ".join(parts or [f"the loss is {bad['loss']}"])
            images = _names(runner, kept[first][2])
        _mark_in_curves(runner, number)
        where = f"epoch {runner.epoch + 1}, iteration {number}" if _by_epoch(runner) else f"iteration {number}"
        raise UserError(f"{found} in {where}{images}: lower optim_wrapper.optimizer.lr or add clip_grad, "
                        f"{'or look at these images, ' if images else ''}{_go_on(runner)}")

    def _check_weights(self, runner) -> None:
        bad = torch.tensor(float(any(True for _ in not_finite(runner.model))))
        all_reduce(bad, op="max")
        if bad:
            name = next(not_finite(runner.model), "of another process")
            _mark_in_curves(runner, self._iteration)
            raise UserError(f"the weight {name} is not finite after iteration {self._iteration}, though the losses "
                            f"were: lower optim_wrapper.optimizer.lr or add clip_grad, {_go_on(runner)}")


def not_finite(model: nn.Module) -> Iterator[str]:
    """Yield the names of parameters that hold NaN or infinity, and of saved buffers that hold NaN.

    Waits for the device once when there are none.
    """
    saved = set(model.state_dict(keep_vars=True)) if not _sharded(model) else set()
    tensors = {name: value for name, value in model.named_parameters() if value.is_floating_point() and value.numel()}
    buffers = {name: value for name, value in model.named_buffers()
               if name in saved and value.is_floating_point() and value.numel()}
    with torch.no_grad():
        # Infinity can be meant in a buffer, as a mask; in a parameter it is not.
        flags = [torch.isfinite(value).all() for value in tensors.values()]
        flags += [~torch.isnan(value).any() for value in buffers.values()]
        verdicts = torch.stack([flag.reshape(()).to(flags[0].device) for flag in flags]).tolist() if flags else []
    for name, fine in zip([*tensors, *buffers], verdicts):
        if not fine:
            yield name.removeprefix("module.")


def _sharded(model: nn.Module) -> bool:
    """Say whether FSDP holds the model: its state dict would be gathered from all processes."""
    return "FullyShardedDataParallel" in type(model).__name__


def _first_bad(kept: list[tuple[int, dict[str, Tensor], Any]]) -> int | None:
    values = [value.float().mean() for _, losses, _ in kept for value in losses.values()]
    if not values or (finite := torch.isfinite(torch.stack(values))).all():
        return None
    verdicts = iter(finite.tolist())
    for position, (_, losses, _) in enumerate(kept):
        own = [next(verdicts) for _ in losses]  # each takes its own, so none may be left out
        if not all(own):
            return position
    return None


def _image_marks(data_batch: Any) -> Any:
    """Keep what tells the images of a batch, without their pixels: paths, or the record of a pretraining."""
    if not isinstance(data_batch, dict):
        return None
    if "record" in data_batch:
        return data_batch["record"].index
    samples = data_batch.get("data_samples")
    if isinstance(samples, dict):  # several views of each image
        samples = next(iter(samples.values()), None)
    return [getattr(sample, "img_path", None) for sample in samples] if isinstance(samples, (list, tuple)) else None


def _names(runner, marks: Any) -> str:
    if isinstance(marks, Tensor):
        dataset = runner.train_dataloader.dataset
        marks = [dataset.name(index) for index in marks.tolist()] if hasattr(dataset, "name") else None
    names = [str(name) for name in marks or () if name]
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (images {', '.join(names[:_SHOWN])}{more})"


def _by_epoch(runner) -> bool:
    return (runner.cfg.get("train_cfg") or {}).get("max_epochs") is not None


def _mark_in_curves(runner, iteration: int) -> None:
    """Log a point that is not a number where the run broke: the curves of the work dir show it."""
    runner.visualizer.add_scalars({"loss": math.nan, "iter": iteration}, step=iteration)


def _go_on(runner) -> str:
    newest = newest_checkpoint(runner.work_dir)
    if newest is None:
        return f"then start again; {runner.work_dir} holds no checkpoint"
    return f"then go on with --resume; the last good checkpoint is {newest}"
