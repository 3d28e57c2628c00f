"""bf16 autocast for mmengine, on any device."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from mimtransfer.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast.

    bfloat16 has the exponent range of float32, so there is no loss scale and no check of gradients, both of which
    mmengine's `AmpOptimWrapper` brings (it also refuses to run on a CPU). fp16 is what turned late pretraining into NaN
    for many users.
    """

    @contextmanager
    def optim_context(self, model):
        """Enter autocast, and mmengine's own context for gradient accumulation."""
        with super().optim_context(model), torch.autocast(get_device().split(":")[0], dtype=torch.bfloat16):
            yield
