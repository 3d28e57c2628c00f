"""ScheduleHook: says what the schedule is, and goes on with it after a resume with other settings."""
from collections.abc import Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from mimtransfer.registry import HOOKS
from mimtransfer.training.batch import META_KEY, RESUMED_FROM, batch_of
from mimtransfer.training.resume import continue_schedule


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Log images of a step, steps and lr; write the batch into checkpoints; let a resume rebuild the schedule.

    The tools register it. For mmdet's or mmseg's own tools: `custom_hooks=[dict(type='mimtransfer.ScheduleHook')]`.

    Args:
        notes: lines about the schedule for the log.
    """

    priority = "HIGHEST"  # before RuntimeInfoHook, which tells others the length, and RecordHook, which counts images

    def __init__(self, notes: Sequence[str] = ()) -> None:
        self.notes = list(notes)
        self._resumed_from: int | None = None  # iteration of the run before, where its number has changed

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rewrite what mmengine is about to restore; see `continue_schedule`."""
        resumed = runner._resume and isinstance(runner._train_loop, BaseLoop)
        if resumed and isinstance(checkpoint.get("meta"), dict) and "iter" in checkpoint["meta"]:
            before = checkpoint["meta"]["iter"]
            line = continue_schedule(checkpoint, runner, batch_of(runner.cfg, get_world_size()))
            self.notes += [] if line is None else [line]
            self._resumed_from = before if before != checkpoint["meta"]["iter"] else None

    def before_train(self, runner: Runner) -> None:
        """Log; see the class."""
        for line in [*self.notes, summary(runner)]:
            runner.logger.info(line)
        if self._resumed_from is not None:  # for who reads the curves of the run
            runner.visualizer.add_scalar(RESUMED_FROM, self._resumed_from, step=runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write down the batch."""
        signed: dict[str, Any] = batch_of(runner.cfg, get_world_size())._asdict()
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            signed["epoch_length"] = len(runner.train_dataloader)
        checkpoint.setdefault("meta", {})[META_KEY] = signed


def summary(runner: Runner) -> str:
    """Return the line about images of a step, steps, images, masks of an image, peak lr."""
    batch, wrapper = batch_of(runner.cfg, get_world_size()), runner.optim_wrapper
    wrappers = list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    rates = [group.get("initial_lr", group["lr"]) for one in wrappers for group in one.optimizer.param_groups]
    images = runner.max_iters * batch.images
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    masks = getattr(model, "masks_per_image", 1)  # not of the config, which may leave it to the method
    masked = f", {masks} masks of each ({images * masks} masks; lr and epochs count images)" if masks > 1 else ""
    return (f"Schedule: {batch.images_of_step} images a step ({batch}), "
            f"{-(-runner.max_iters // batch.accumulation)} steps, {images} images{masked}, peak lr {max(rates):.4g}")
