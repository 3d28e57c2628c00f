"""Gradients that wait for their step when a checkpoint is saved between two batches of an accumulation.

mmengine's checkpoints leave them out: a run that is resumed there takes a step with a part of its images. Iteration
checkpoints avoid that, the end of an epoch cannot.
"""
from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.training.batch import accumulation_of

GRADIENTS_KEY = "accumulated_gradients"  # of a checkpoint


def gradients_in_flight(runner: Any, done: int) -> dict[str, Tensor] | None:
    """Return the gradients by name of parameter that no step has used yet, or None.

    All processes call it: they get the mean of their gradients, as in the step. Not with FSDP, whose gradients are
    pieces.

    Args:
        done: iterations.
    """
    if done % accumulation_of(runner.cfg) == 0 or done >= runner.max_iters or hasattr(runner, "strategy"):
        return None
    params = {name: param for name, param in _own(runner.model).named_parameters() if param.requires_grad}
    if not is_distributed():
        return {name: param.grad for name, param in params.items() if param.grad is not None}
    present = torch.tensor([float(param.grad is not None) for param in params.values()])
    all_reduce(present, op="max")
    found = {}
    for (name, param), flag in zip(params.items(), present.tolist()):
        if flag:
            found[name] = torch.zeros_like(param) if param.grad is None else param.grad.clone()
            all_reduce(found[name], op="mean")
    return found


def restore_gradients(runner: Any, gradients: dict[str, Tensor]) -> None:
    """Let accumulation go on with these gradients.

    Raises:
        UserError: they are of another model.
    """
    params = dict(_own(runner.model).named_parameters())
    for name, gradient in gradients.items():
        if name not in params or not isinstance(gradient, Tensor) or gradient.shape != params[name].shape:
            raise UserError(f"--resume: the accumulated gradient of {name!r} in the checkpoint fits no parameter; go "
                            "on from another checkpoint")
        params[name].grad = gradient.to(params[name])


def _own(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
