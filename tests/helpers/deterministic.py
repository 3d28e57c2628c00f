"""Weights, images and noise that anyone can make again: numpy's legacy generator has a frozen stream."""
import zlib

import numpy as np
import torch
from torch import Tensor, nn


def numbers(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    """Return standard normal numbers times `scale`, seeded by the name: float32 of `shape`."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    return torch.from_numpy((state.standard_normal(shape) * scale).astype(np.float32))


@torch.no_grad()
def fill(model: nn.Module, rename: dict[str, str] | None = None) -> None:
    """Fill all trainable parameters by name: 0.05 times normal numbers, and 1 added to the weights of norms.

    Args:
        rename: prefixes to replace in parameter names before they become seeds, first match wins.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        for prefix, other in (rename or {}).items():
            if name.startswith(prefix):
                name = other + name[len(prefix) :]
                break
        parameter.copy_(numbers(name, tuple(parameter.shape), 0.05))
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1.0)
