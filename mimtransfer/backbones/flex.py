"""Decomposed relative positions by FlexAttention (Dong et al. 2024, arXiv 2412.05496), for global blocks on a GPU.

`DecomposedAttention` puts the terms of relative positions into the dot product, which widens heads of 64 to 192 for the
64 x 64 patches of 1024 pixels: 618 instead of 206 GFLOP an image in ViTDet's four global blocks. FlexAttention adds
them to the scores inside its kernel, which torch.compile makes.

Proven on a CPU only: outputs equal those of `DecomposedAttention` (FlexAttention runs there without a kernel, and
forward only); gradients of the terms, where `relative_score` is applied to whole matrices of scores. The kernel has not
been run on a GPU by the authors. It adds the gradients of the terms up by atomic operations, in an order that
changes from run to run: two runs with one seed are equal to rounding only. `flex_attention=False` of `TimmViT` goes
without it.
"""
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# The first torch whose kernel has gradients for what the scores are changed by.
_HAS_GRADIENTS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


def suits_flex(q: Tensor, training: bool, dropout: float) -> bool:
    """Say whether FlexAttention is to attend: in training on CUDA, where sizes are fixed, so that it compiles once.

    Args:
        q: [B, h, w, K, d] queries; d must be a power of two, which every version takes.
        dropout: of the attention map; FlexAttention has none.
    """
    width = q.shape[-1]
    return _HAS_GRADIENTS and q.is_cuda and training and not dropout and width >= 16 and width & (width - 1) == 0


def relative_score(rows: Tensor, columns: Tensor) -> Callable[..., Tensor]:
    """Return the function that adds the terms of relative positions to a score.

    Args:
        rows: [B, K, h*w, h] term of each query for each row of the grid.
        columns: [B, K, h*w, w] for each column.

    Returns:
        `(score, image, head, query, key) -> score`, of integer tensors that broadcast.
    """
    width = columns.shape[-1]

    def add_position(score: Tensor, image: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + rows[image, head, query, key // width] + columns[image, head, query, key % width]

    return add_position


def attend_flex(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """Attend over the whole grid, queries, keys and values [B, K, h*w, d] -> [B, K, h*w, d].

    Args:
        rows, columns: see `relative_score`.
        scale: of the dot product.
    """
    from torch.nn.attention.flex_attention import flex_attention

    score = relative_score(rows, columns)
    if not q.is_cuda or torch.compiler.is_compiling():
        return _only_output(flex_attention(q, k, v, score_mod=score, scale=scale))
    return _only_output(_compiled()(q, k, v, score_mod=score, scale=scale))


@functools.cache
def _compiled() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)  # uncompiled it would hold a matrix of all scores


def _only_output(result: Any) -> Tensor:
    assert isinstance(result, Tensor)
    return result
