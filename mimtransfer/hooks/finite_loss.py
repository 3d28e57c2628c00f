"""Stop a run whose loss is no longer a number, while the last good checkpoint is still there."""
import torch
from mmengine.hooks import Hook

from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Raise when the loss is infinite or not a number.

    Args:
        interval: iterations between looks; each waits for the GPU, so it goes with the logging interval.

    Raises:
        UserError: at the first look that finds such a loss.
    """

    def __init__(self, interval: int = 50):
        self.interval = interval

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Look when it is time."""
        if self.every_n_train_iters(runner, self.interval) and not torch.isfinite(outputs["loss"]).all():
            raise UserError(
                f"the loss is {outputs['loss'].item()} in epoch {runner.epoch + 1}, iteration {runner.iter + 1}: "
                f"lower optim_wrapper.optimizer.lr or add clip_grad, then go on with --resume from the last "
                f"checkpoint in {runner.work_dir}"
            )
