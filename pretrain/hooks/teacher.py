"""TeacherHook: after each optimizer step, the EMA teacher of a method follows its student."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class TeacherHook(Hook):
    """Call `LatentPrediction.update_teacher` after each step of the optimizer, not after each accumulated batch.

    The momentum follows from the share of the training that is done, so a resumed run has the same one. `build_runner`
    registers the hook for every method that has a teacher; a config need not name it.

    Raises:
        UserError: before training begins: the strategy has `source='teacher'` and cannot measure the encoder.
    """

    priority = "HIGHEST"  # before anything looks at the weights, saves them, or counts operations

    def before_train(self, runner) -> None:
        """Find mistakes now and not after `maps_begin`, by measuring a black image."""
        model = self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model.strategy, "source", "bank") == "teacher":
            black = torch.zeros(1, model.in_chans, *model.encoder.img_size, device=next(model.parameters()).device)
            with torch.no_grad():
                model.strategy.measure(model.look(black)[1])

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Let the teacher's maps decide once it is worth asking."""
        self._model.hands_maps = runner.iter >= self._model.maps_begin * runner.max_iters

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Update the teacher when the optimizer has done a step."""
        if not runner.optim_wrapper.should_update():
            return
        progress = runner.iter / runner.max_iters
        self._model.update_teacher(progress)
        runner.message_hub.update_scalar("train/teacher_momentum", self._model.momentum_at(progress))
