"""From a config to mmengine's Runner, with the rules of this field that mmengine does not know."""
import logging

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mimtransfer.errors import UserError
from mimtransfer.safe_load import allow_mmengine_checkpoints


def build_runner(cfg: Config) -> Runner:
    """Build a Runner for pretraining.

    Args:
        cfg: a whole config; `auto_scale_lr.base_batch_size` is the batch size that the learning rate is meant for (MAE: 256). The rate used is
            lr * (batch * accumulation * processes) / base_batch_size.

    Raises:
        UserError: the training set is smaller than a batch.
    """
    # Registers them all; the strategies and tokenizers register themselves at their first lookup.
    import pretrain.data
    import pretrain.hooks
    import pretrain.methods  # noqa: F401

    allow_mmengine_checkpoints()
    accumulation = cfg.optim_wrapper.get("accumulative_counts", 1)
    if accumulation > 1 and cfg.get("auto_scale_lr") is not None:
        # mmengine scales by batch * processes only.
        cfg.auto_scale_lr.base_batch_size = cfg.auto_scale_lr.base_batch_size / accumulation
    runner = Runner.from_cfg(cfg)
    _check_epoch(runner, accumulation)
    return runner


def _check_epoch(runner: Runner, accumulation: int) -> None:
    loader = runner.build_dataloader(runner._train_dataloader, seed=runner.seed)
    runner._train_dataloader = loader  # the Runner takes a built one as it is
    iterations = len(loader)
    if iterations == 0:
        raise UserError(
            f"the training set has {len(loader.dataset)} images, less than one batch of {loader.batch_size}: "
            "lower train_dataloader.batch_size or add images"
        )
    if iterations % accumulation:
        print_log(
            f"an epoch has {iterations} iterations, which accumulative_counts={accumulation} does not divide: the gradients that are left over go "
            "into the next epoch, and a resume drops them, so it is not bit-exact",
            logger="current",
            level=logging.WARNING,
        )
