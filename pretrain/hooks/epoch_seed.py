"""Re-seed the global generators at each epoch, so that an epoch does not depend on what ran before it in the process."""
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed python, numpy and torch from (run seed, rank, epoch) before each training epoch.

    Data and masks have their own stateless randomness (`pretrain/draws.py`); this covers what is left, such as drop path. A resumed run begins an
    epoch like an uninterrupted one, without generator states in the checkpoint.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner) -> None:
        """Seed; see the class."""
        words = np.random.SeedSequence([runner.seed or 0, get_rank(), runner.epoch]).generate_state(2)
        random.seed(int(words[0]))
        np.random.seed(int(words[0]))
        torch.manual_seed(int(words[1]))  # CUDA as well
