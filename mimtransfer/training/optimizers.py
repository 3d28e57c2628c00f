"""What mmengine lacks to optimise as the recipes of this field do: timm's LAMB and LARS, and bf16 autocast."""
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from timm.optim import Lamb, Lars
from torch import nn

from mimtransfer.registry import OPTIM_WRAPPERS, OPTIMIZERS

OPTIMIZERS.register_module(name="LAMB", module=Lamb)


@OPTIMIZERS.register_module()
class LARS(Lars):
    """LARS (You, Gitman and Ginsburg 2017, arXiv 1708.03888) as in linear probing of MoCo v3 and MAE.

    timm's, with their exception: tensors of one dimension (biases) have neither weight decay nor a rate of their own;
    all others have one even without weight decay. With weight decay, for which MAE has no use, the rates differ: the
    denominator is |gradient| + weight_decay * |weights|, as in the paper, and not the norm of their sum.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, e.g. 0.1 for 256 images.
        momentum: of the updates.
        weight_decay: L2, part of the gradient.
        trust_coeff: the rate of a tensor is trust_coeff * |weights| / |gradient|.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coeff: float = 0.001,
    ):
        given: list[Any] = list(params)
        groups = []
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            flat = [p for p in group["params"] if p.ndim <= 1]
            others = [p for p in group["params"] if p.ndim > 1]
            if others:
                groups.append({**group, "params": others, "always_adapt": True})
            if flat:
                groups.append({**group, "params": flat, "always_adapt": False, "weight_decay": 0.0})
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coeff=trust_coeff)


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
