"""Two-stream attention over tokens in order of prediction (Yang et al., "XLNet", NeurIPS 2019, arXiv 1906.08237, sec.
2.3), with auxiliary position tokens for patches not yet seen (Song et al., "MPNet", NeurIPS 2020, arXiv 2004.09297;
for images Baraldi et al., MaPeT, CVIU 2025, arXiv 2306.07346).

Tokens are put in the order of prediction, so the rank of a token is its index, and one boolean mask serves all images
and heads:

    content stream                                                           query stream
    [ prefix, visible | predicted 0 .. M-1 | auxiliary of predicted 0 .. M-1 | queries of predicted 0 .. M-1 ]
    [ -------------------------------- keys ------------------------------- ]
    [ ------------------------------------------------ rows ------------------------------------------------ ]

Every row sees the prefix and the visible patches, the content of the first `s` predicted patches, and the auxiliary
tokens of all others. A query sees what comes before it, s = its rank; the content of a predicted patch also itself, s =
its rank + 1; context and auxiliary tokens see no predicted content, s = 0. So each row sees each position exactly once.
"""
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mimtransfer.backbones.rotary import add_branches, project, turn
from mimtransfer.backbones.vit import TimmViT


def two_stream_mask(
    num_context: int, num_predicted: int, auxiliary: bool = True, device: torch.device | str = "cpu"
) -> Tensor:
    """Return who sees whom, [rows, keys] bool, True = seen; rows and keys as drawn above.

    Args:
        num_context: prefix and visible patches.
        num_predicted: predicted patches, M.
        auxiliary: if False, their rows and keys are left out, and a row sees what comes before it only.
    """
    rank = torch.arange(num_predicted, device=device)
    blind = rank.new_zeros(num_context), rank + 1, rank.new_zeros(num_predicted if auxiliary else 0), rank
    num_seen = torch.cat(blind)[:, None]  # `s` of each row
    content = rank < num_seen
    parts = [content.new_ones(len(num_seen), num_context), content, ~content]
    return torch.cat(parts if auxiliary else parts[:2], dim=1)


def encode_two_streams(
    encoder: TimmViT, tokens: Tensor, queries: Tensor, mask: Tensor, whole: bool = False,
    grid: tuple[int, int] | None = None, patches: Tensor | None = None,
) -> Tensor:
    """Run the blocks of a ViT on both streams; all weights are shared, and so is drop path.

    Args:
        encoder: plain or rotary blocks only, see `has_plain_blocks`.
        tokens: [B, N, D] content stream without prefix tokens, positions added.
        queries: [B, M, D] query stream, positions added.
        mask: from `two_stream_mask`.
        whole: also compute the last block's content stream, which nothing predicts from.
        grid: (h, w) of the whole image; only rotary positions need it.
        patches: [B, N+M] int64, which patches both streams are of; only rotary positions need it.

    Returns:
        [B, M, D] queries after the final norm; with `whole` [B, P+N+M, D], both streams.
    """
    content = encoder.prepend_prefix(tokens)
    num_keys = content.shape[1]
    x = encoder.norm_pre(encoder.pos_drop(torch.cat([content, queries], dim=1)))
    blocks: Any = encoder.blocks
    for i, (block, place) in enumerate(zip(blocks, encoder.places(grid, patches))):
        first = 0 if whole or i < len(encoder.blocks) - 1 else num_keys
        if encoder.grad_checkpointing and torch.is_grad_enabled():
            x = checkpoint(run_rows, block, x, num_keys, first, mask, use_reentrant=False, **place)
        else:
            x = run_rows(block, x, num_keys, first, mask, **place)
    return encoder.norm(x)


def has_plain_blocks(encoder: TimmViT) -> bool:
    """Tell whether the blocks are timm's plain ones, or Eva's, whose parts are called one by one here."""
    known = (Block, Attention), (EvaBlock, EvaAttention), (EvaBlock, AttentionRope)
    return all((type(block), type(block.attn)) in known for block in encoder.blocks)


def run_rows(
    block: Any, x: Tensor, num_keys: int, first: int, mask: Tensor | None = None, rope: Tensor | None = None
) -> Tensor:
    """Run a block as the forward pass of timm's `Block` or `EvaBlock` does, for the rows from `first` on.

    Args:
        block: a plain one, see `has_plain_blocks`.
        x: [B, N, D].
        num_keys: the first rows, which are keys and values.
        first: the first row that is computed.
        mask: [N, num_keys] bool, True = seen; None: every row sees every key.
        rope: rotary positions of an `EvaBlock`.

    Returns:
        [B, N - first, D].
    """
    attn, normed = block.attn, block.norm1(x)
    rows = normed[:, first:]
    (q,), (k, v) = project(attn, rows, "q"), project(attn, normed[:, :num_keys], "kv")
    if isinstance(block, EvaBlock):
        assert rope is None or rope.shape[-2] == x.shape[1] - attn.num_prefix_tokens, "a row for each patch"
        q, k = turn(attn, q, rope, first), turn(attn, k, rope)
    dropout = attn.attn_drop.p if attn.training else 0.0
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[first:], dropout_p=dropout)
    y = attn.norm(y.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        y = y * attn.gate(rows).sigmoid()
    attended = attn.proj_drop(attn.proj(y))
    if isinstance(block, EvaBlock):
        return add_branches(block, x[:, first:], attended)[0]
    x = x[:, first:] + block.drop_path1(block.ls1(attended))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
