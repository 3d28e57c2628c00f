"""The number format the stand-in ops compute in, and when they must be deterministic."""
import functools
from collections.abc import Callable

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Return half precision as float32, other tensors as they are.

    torchvision has no bfloat16 kernels, and its float16 ones add up in half.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def kernel(function: Callable) -> Callable:
    """Run an op as compiled code would: outside autograd, and with autocast off, which would narrow what is widened."""

    @functools.wraps(function)
    def run(first: Tensor, *args, **kwargs):
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    return run


def must_be_deterministic(tensor: Tensor) -> bool:
    """Tell whether a CUDA kernel that adds with atomics would raise, as under `randomness=dict(deterministic=True)`."""
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()
