"""Rotary positions (RoPE, Su et al. 2021, arXiv 2104.09864) of timm's Eva: EVA-02 (Fang et al. 2023, arXiv 2303.11331),
DINOv3 (Simeoni et al. 2025, arXiv 2508.10104), RoPE-ViT (Heo et al. 2024, arXiv 2403.13298) and others.

Queries and keys of patches are turned by angles that follow from where the patch lies; prefix tokens are not turned. A
table holds sines and cosines, [L, 2d], or [K, L, 2d] where each head of each block learns its angles (RoPE-Mixed). A
subset of patches takes its rows of the table, and a window those of its patches: a patch is turned by the same angles
wherever it is attended.
"""
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import RotaryEmbeddingDinoV3, apply_rot_embed_cat
from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn

from mimtransfer.errors import UserError


def check_options(vit: Eva, arch: str, pos_embed: str, rel_pos: str | None, post_norm: bool) -> None:
    """Refuse options of TimmViT that an Eva has no place for.

    Raises:
        UserError: There is one.
    """
    if rel_pos is not None or post_norm:
        raise UserError(f"arch={arch!r} of TimmViT is an Eva, which takes neither rel_pos={rel_pos!r} nor post_norm: "
                        f"leave them out, or take a plain ViT, e.g. 'vit_base_patch16_224'")
    if pos_embed == "sincos" and vit.pos_embed is None:
        raise UserError(f"pos_embed='sincos' of TimmViT: arch={arch!r} has rotary positions alone and nothing is added "
                        f"to its tokens: leave pos_embed out")


def rotary_tables(rope: Any, grid: tuple[int, int], patches: Tensor | None, depth: int) -> Iterator[Tensor]:
    """Yield the table of each block.

    Args:
        rope: timm's module of an Eva, made for any grid.
        grid: (h, w) of the whole image.
        patches: [B, n] int64, the patches that there are; None for all, row-major.
        depth: Number of blocks.

    Yields:
        [L, 2d] or [K, L, 2d] of all patches, [B, 1, n, 2d] or [B, K, n, 2d] of some.
    """
    whole = _whole_table(rope, grid)
    if whole.ndim == 2:
        table = whole if patches is None else whole[patches][:, None]
        yield from [table] * depth
    else:
        for table in whole[:depth]:
            yield table if patches is None else table[:, patches].transpose(0, 1)


def _whole_table(rope: Any, grid: tuple[int, int]) -> Tensor:
    """Return sines and cosines of all patches, [L, 2d] or [depth, K, L, 2d]."""
    made_on_host = isinstance(rope, RotaryEmbeddingDinoV3)
    if made_on_host and not torch.compiler.is_compiling():
        with rope.periods.device:  # timm makes the grid on the host, and the upload would make the host wait
            return rope.get_embed(shape=list(grid))
    return rope.get_embed(shape=list(grid))


class RotaryGridBlock(EvaBlock):
    """timm's EvaBlock on patches alone, that may attend inside windows.

    Windows are padded after the first norm, as ViTDet's; a padded place has a key of zeros, since none is turned for
    it, and what zeros project to as its value.

    Args:
        block: The block whose submodules are taken over; it must not be used afterwards.
        window_size: Side of a window in patches; 0 attends over the whole grid.

    Raises:
        UserError: It is not timm's plain EvaBlock.
    """

    def __init__(self, block: EvaBlock, window_size: int) -> None:
        if type(block) is not EvaBlock:
            raise UserError(f"windows need timm's plain EvaBlock, got {type(block).__name__}: take another arch, or "
                            "window_size=0")
        nn.Module.__init__(self)
        vars(self).update(vars(block))
        self.window_size = window_size
        self.attn.num_prefix_tokens = 0

    def forward(  # type: ignore[override]  # TimmViT alone calls it, always with a grid
        self, x: Tensor, grid: tuple[int, int], rope: Tensor | None = None
    ) -> Tensor:
        """Transform the h*w patches of `grid`, [B, N, D] -> [B, N, D], with the table of all of them."""
        return add_branches(self, x, self._attend(self.norm1(x), grid, rope))[0]

    def _attend(self, x: Tensor, grid: tuple[int, int], rope: Tensor | None) -> Tensor:
        if not self.window_size:
            return self.attn(x, rope=rope)
        windows, padded_grid = window_partition(x.unflatten(1, grid), self.window_size)  # [B*windows, s, s, D]
        if rope is not None:
            rope = _window_tables(rope, grid, self.window_size).repeat(len(x), 1, 1, 1)
        windows = self.attn(windows.flatten(1, 2), rope=rope).unflatten(1, (self.window_size,) * 2)
        return window_unpartition(windows, self.window_size, grid, padded_grid).flatten(1, 2)


def _window_tables(table: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """Cut a table of all patches into those of windows, [windows, 1 or K, s*s, 2d]; zeros where the grid ends."""
    heads = table.view(-1, *grid, table.shape[-1])
    windows, _ = window_partition(heads, size)
    return windows.flatten(1, 2).unflatten(0, (len(heads), -1)).transpose(0, 1)


def add_branches(block: EvaBlock, x: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Add what the attention and the feed-forward network make to tokens, as timm's EvaBlock: return the sum and the
    latter, [B, N, D] each.
    """
    x = x + block.drop_path1(_scaled(attended, block.gamma_1))
    added = block.mlp(block.norm2(x))
    return x + block.drop_path2(_scaled(added, block.gamma_2)), added


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x


def project(attn: Any, x: Tensor, parts: str) -> list[Tensor]:
    """Project tokens [B, N, D] to queries, keys or values [B, K, N, d]; queries and keys are normed, and not turned.

    Args:
        attn: timm's Attention, EvaAttention or AttentionRope.
        parts: A piece of 'qkv', e.g. 'kv': what is returned, in this order.
    """
    if attn.qkv is None:
        found = tuple(getattr(attn, f"{part}_proj")(x) for part in parts)
    else:
        weight, bias, first = attn.qkv.weight, attn.qkv.bias, "qkv".index(parts)
        if bias is None and getattr(attn, "q_bias", None) is not None:
            bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
        width = len(weight) // 3
        rows = slice(first * width, (first + len(parts)) * width)
        found = F.linear(x, weight[rows], None if bias is None else bias[rows]).chunk(len(parts), dim=-1)
    heads = [value.unflatten(2, (-1, attn.head_dim)).transpose(1, 2) for value in found]
    norms = {"q": attn.q_norm, "k": attn.k_norm}
    heads = [norms[part](value) if part in norms else value for part, value in zip(parts, heads)]
    # Of grouped queries several share a key and a value.
    return [value if value.shape[1] == attn.num_heads
            else value.repeat_interleave(attn.num_heads // value.shape[1], dim=1) for value in heads]


def turn(attn: Any, x: Tensor, rope: Tensor | None, first: int = 0) -> Tensor:
    """Turn queries or keys [B, K, n, d] of some of a sequence of P+N tokens, by the table of its N patches.

    Args:
        attn: timm's EvaAttention or AttentionRope.
        x: Those of the n tokens from `first` on.
        rope: See `rotary_tables`; None turns nothing.
        first: 0 is the first prefix token.
    """
    if rope is None:
        return x
    num_prefix = max(attn.num_prefix_tokens - first, 0)
    begin = max(first - attn.num_prefix_tokens, 0)
    prefix, patches = x[:, :, :num_prefix], x[:, :, num_prefix:]
    rope = rope[..., begin : begin + patches.shape[2], :]
    return torch.cat([prefix, apply_rot_embed_cat(patches, rope, half=attn.rotate_half)], dim=2)
