"""Let fake tensors of the CPU be treated as a GPU would: its attention kernels, its list of autocast.

Fake tensors of the device cuda would need a driver: their backward pass asks for one.
"""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# What autocast computes in float32 on CUDA but not on a CPU: "CUDA Ops that can autocast to float32", torch's manual.
_FLOAT32 = frozenset((
    "layer_norm", "group_norm", "softmax", "log_softmax", "exp", "log", "log1p", "pow", "__pow__", "rsqrt",
    "reciprocal", "sum", "cumsum", "norm", "normalize", "softplus", "cosine_similarity", "l1_loss", "smooth_l1_loss",
    "mse_loss", "kl_div", "cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "prod", "expm1",
    "cdist", "dist"))


class AsOnCuda(TorchFunctionMode):
    """Replace calls whose result on a GPU has other dtypes, or keeps other tensors for the backward pass."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return attend(*args, **kwargs)
        if name in _FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_widened, (args, kwargs))
        return func(*args, **kwargs)


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value


def attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
           is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    """Attend by the kernel that torch takes on a GPU: flash in half precision without a mask, else the one that it
    calls memory-efficient; both keep no map of attention.
    """
    assert not enable_gqa
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (t.to(torch.bfloat16) if t.dtype == torch.float32 else t for t in (q, k, v))
    half, width = q.dtype in (torch.float16, torch.bfloat16), q.shape[-1]
    if half and attn_mask is None and width == v.shape[-1] and width <= 256:
        pad = -width % 8
        if pad:
            scale, q, k, v = scale or width**-0.5, *(F.pad(t, (0, pad)) for t in (q, k, v))
        out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, scale=scale)[0]
        return out[..., :width] if pad else out
    if any(t.shape[-1] % (8 if half else 4) for t in (q, v)):  # torch computes the map
        scores = (q @ k.transpose(-1, -2)) * (scale or width**-0.5)
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, float("-inf")) if masked else scores + attn_mask
        return scores.softmax(-1) @ v
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
        attn_mask = attn_mask.to(q.dtype).expand(*q.shape[:2], q.shape[-2], k.shape[-2])
    kept = torch.is_grad_enabled()
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, kept, dropout_p, is_causal,
                                                                  scale=scale)[0]
