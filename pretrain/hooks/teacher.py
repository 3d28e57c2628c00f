"""TeacherHook: after each optimizer step, the EMA teacher of a method follows its student."""
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class TeacherHook(Hook):
    """Call `LatentPrediction.update_teacher` after each step of the optimizer, not after each accumulated batch.

    The momentum follows from the share of the training that is done, so a resumed run has the same one. `build_runner`
    registers the hook for every method that has a teacher; a config need not name it.
    """

    priority = "VERY_HIGH"  # before anything looks at the weights, or saves them

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Let the teacher's maps decide once it is worth asking."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.hands_maps = runner.iter >= model.maps_begin * runner.max_iters

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Update the teacher when the optimizer has done a step."""
        if not runner.optim_wrapper.should_update():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        progress = runner.iter / runner.max_iters
        model.update_teacher(progress)
        runner.message_hub.update_scalar("train/teacher_momentum", model.momentum_at(progress))
