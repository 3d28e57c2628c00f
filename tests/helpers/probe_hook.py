"""Hooks for end-to-end tests: note what a run does, and die in the middle of it."""
import json
import os
import signal
import sys
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ProbeHook(Hook):
    """Write each iteration's loss, the loaded libraries and the final weights' sums to probe_<rank>.json in the work
    dir.
    """

    def __init__(self):
        self.losses = {}
        self.heavy = None

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.heavy is None:
            self.heavy = sorted({name.split(".")[0] for name in sys.modules} & {"mmdet", "mmseg", "mmcv"})
        self.losses[runner.iter + 1] = outputs["loss"].item()

    def after_train(self, runner):
        sums = {name: float(p.detach().double().sum()) for name, p in sorted(runner.model.named_parameters())}
        sums = {name.removeprefix("module."): value for name, value in sums.items()}
        content = dict(losses=self.losses, heavy=self.heavy, sums=sums)
        Path(runner.work_dir, f"probe_{get_rank()}.json").write_text(json.dumps(content))


@HOOKS.register_module()
class KillHook(Hook):
    """Send SIGKILL to this process before training iteration `at` (from 1)."""

    def __init__(self, at: int):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
