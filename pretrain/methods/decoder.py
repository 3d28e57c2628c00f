"""Decoders of MAE, from encoded visible tokens to the pixels of masked patches: what all share, and MAE's own, the
light transformer `PixelDecoder`. Another one is `cross_decoder.py`.
"""
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mimtransfer.backbones.position import sincos2d
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, take
from pretrain.methods.two_stream import run_rows


class PatchDecoder(nn.Module):
    """What a decoder knows of positions, and what it asks of the method.

    Args:
        grid: patch grid (h, w) of the training images.
        embed_dim: width D, a multiple of 4.

    Attributes:
        predict_ratio: share of all patches that are predicted, drawn from the masked ones; None: all masked ones.
        reads_blocks: `forward` gets what `TimmViT.encode_blocks` returns, not what `encode` returns.
        mask_token: [1, 1, D], what stands for a patch to be predicted.
    """

    predict_ratio: float | None = None
    reads_blocks = False
    pos_embed: Tensor
    mask_token: nn.Parameter

    def __init__(self, grid: tuple[int, int], embed_dim: int):
        super().__init__()
        self.grid = (grid[0], grid[1])
        # A function of the grid, so not in the state dict.
        self.register_buffer("pos_embed", sincos2d(self.grid, embed_dim)[None], persistent=False)  # [1, L, D]

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return [1, L, D], the sin-cos table of a grid."""
        if tuple(grid) == self.grid:
            return self.pos_embed
        return sincos2d(grid, self.pos_embed.shape[-1], self.pos_embed.device)[None].to(self.pos_embed)


@MODELS.register_module()
class PixelDecoder(PatchDecoder):
    """Predict the pixels of the masked patches (He et al., CVPR 2022, arXiv 2111.06377, sec. 3 and table 1).

    The sequence is [prefix, visible, masked] with each token's own position: attention does not depend on the order, so
    nothing is un-shuffled. Normalisation and prediction run on masked tokens only, and so does the last block, its keys
    and values apart. The official code decodes and predicts all patches and drops the visible ones in the loss.

    Args:
        encoder: the method's encoder, of which only the sizes are read. The decoder sees its prefix tokens without a
            position of their own (zero), as official.
        num_values: values to predict for a patch, ph*pw*C.
        embed_dim: width D.
        depth: number of blocks.
        num_heads: attention heads of a block.
    """

    def __init__(self, encoder: Any, num_values: int, embed_dim: int = 512, depth: int = 8, num_heads: int = 16):
        super().__init__(encoder.grid_size, embed_dim)
        self.num_prefix_tokens: int = encoder.num_prefix_tokens
        self.embed = nn.Linear(encoder.embed_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential(
            *(Block(embed_dim, num_heads, qkv_bias=True, norm_layer=norm_layer) for _ in range(depth))
        )
        self.norm = norm_layer(embed_dim)
        self.pred = nn.Linear(embed_dim, num_values)

    def forward(self, latent: Tensor, layout: TokenLayout, grid: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            latent: [B*K, P+V, D_encoder], prefix tokens first, then the visible tokens in the order of
                `layout.visible`.
            layout: roles; thrown patches are not decoded.
            grid: patch grid (h, w) of these images.

        Returns:
            [B*K, M, num_values], in the order of `layout.masked`.
        """
        tokens = self.embed(latent)
        prefix, visible = tokens.split([self.num_prefix_tokens, layout.visible.shape[1]], dim=1)
        positions = self.positions(grid)
        sequence = torch.cat(
            [
                prefix,
                visible + take(positions, layout.visible),
                self.mask_token.to(tokens.dtype) + take(positions, layout.masked),
            ],
            dim=1,
        )
        return self.pred(self.norm(self._run_blocks(sequence, tokens.shape[1])))

    def _run_blocks(self, sequence: Tensor, first: int) -> Tensor:
        # Nobody reads the visible tokens of the last block; they are its keys and values only.
        blocks: list[Any] = list(self.blocks)
        for block in blocks[:-1]:
            sequence = block(sequence)
        return run_rows(blocks[-1], sequence, sequence.shape[1], first) if blocks else sequence[:, first:]
