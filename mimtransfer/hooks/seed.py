"""Re-seed the global generators at each iteration, so that an iteration does not depend on what ran before it in
the process.
"""
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed python, numpy and torch from (run seed, rank, iteration) before each training iteration.

    Data and masks have their own stateless randomness (`pretrain/draws.py`); this covers what is left, such as drop
    path. A resumed run goes on like an uninterrupted one, without generator states in the checkpoint. Once an epoch
    would not do: a data loader draws from torch's generator when its workers start, which is in another epoch after a
    resume.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed; see the class."""
        words = np.random.SeedSequence([runner.seed or 0, get_rank(), runner.iter]).generate_state(2)
        random.seed(int(words[0]))
        np.random.seed(int(words[0]))
        torch.manual_seed(int(words[1]))  # CUDA as well
