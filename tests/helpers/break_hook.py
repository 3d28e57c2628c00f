"""Hooks for tests of faults: a run whose weights break, and one that gets a signal."""
import os
import signal

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PoisonHook(Hook):
    """Set a weight to NaN before, or after, training iteration `at` (from 1)."""

    def __init__(self, at: int, after: bool = False):
        self.at, self.after = at, after

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.at and not self.after:
            self._poison(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at and self.after:
            self._poison(runner)

    @torch.no_grad()
    def _poison(self, runner):
        model = getattr(runner.model, "backbone", runner.model)
        next(p for p in model.parameters() if p.requires_grad).view(-1)[0] = float("nan")


@HOOKS.register_module()
class SignalHook(Hook):
    """Send a signal to this process after training iteration `at` (from 1)."""

    def __init__(self, at: int, name: str = "SIGTERM"):
        self.at, self.name = at, name

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            os.kill(os.getpid(), getattr(signal, self.name))
