"""From a config to mmengine's Runner, with the rules of this field that mmengine does not know."""
import logging
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mimtransfer.checks.channels import check_channels
from mimtransfer.cli.launch import check_epoch
from mimtransfer.errors import UserError
from mimtransfer.results.progress import ProgressHook
from mimtransfer.training.schedule_hook import ScheduleHook


class PretrainRunner(Runner):
    """mmengine's Runner without what only detection and segmentation need."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to its device, and wrap it for several processes.

        For one process mmengine looks for synchronised BatchNorm and imports mmcv's operators to know theirs; our
        methods have none.
        """
        if not self.distributed and model_wrapper_cfg is None:
            return model.to(get_device())
        return super().wrap_model(model_wrapper_cfg, model)


def register_all() -> None:
    """Register data, hooks and methods; strategies and tokenizers register themselves at their first lookup."""
    import pretrain.data
    import pretrain.hooks
    import pretrain.methods  # noqa: F401


def build_runner(cfg: Config, notes: Sequence[str] = ()) -> Runner:
    """Build a Runner for pretraining.

    Args:
        cfg: a whole config.
        notes: lines about the schedule for the log.

    Raises:
        UserError: the training set is smaller than a batch, cannot be read, or images have other channels than RGB; a
            bank for a strategy that reads none.
    """
    check_channels(cfg)
    register_all()
    from pretrain.data.check import check_images

    runner = PretrainRunner.from_cfg(cfg)
    runner.register_hook(ScheduleHook(notes))
    runner.register_hook(ProgressHook())
    check_epoch(runner)
    check_images(runner._train_dataloader.dataset)
    _check_maps(runner)
    _check_stored_ids(runner)
    _move_teacher(runner)
    return runner


def _method(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _move_teacher(runner: Runner) -> None:
    """Register `TeacherHook` where there is a teacher: one that never moves would be no error and no training."""
    from pretrain.hooks.teacher import TeacherHook
    from pretrain.methods.teacher import LatentPrediction

    has_hook = any(isinstance(hook, TeacherHook) for hook in runner.hooks)
    if isinstance(_method(runner), LatentPrediction) and not has_hook:
        runner.register_hook(TeacherHook())


def _check_maps(runner: Runner) -> None:
    from pretrain.hooks.map_bank import MapBankHook
    from pretrain.masking.measured import Measured

    strategy = _method(runner).strategy
    if not isinstance(strategy, Measured):
        return
    has_hook = any(isinstance(hook, MapBankHook) for hook in runner.hooks)
    if strategy.source == "teacher":
        if has_hook:
            raise UserError(f"{type(strategy).__name__} has source='teacher' and reads no bank: remove MapBankHook "
                            "from custom_hooks, or source from the strategy")
    elif not has_hook:
        print_log(
            f"{type(strategy).__name__} never gets maps, since custom_hooks has no MapBankHook: it masks by its "
            "warmup, or all patches alike; add dict(type='MapBankHook', begin=40, interval=40)",
            logger="current",
            level=logging.WARNING,
        )


def _check_stored_ids(runner: Runner) -> None:
    from pretrain.tokenizers.stored import StoredTokens

    tokenizer = getattr(_method(runner), "tokenizer", None)
    if isinstance(tokenizer, StoredTokens):
        tokenizer.check_images(runner._train_dataloader.dataset)
