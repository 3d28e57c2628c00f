"""CrossDecoder: masked patches are read out of the encoder's tokens, each for itself.

Fu et al., "Rethinking Patch Dependence for Masked Autoencoders" (CrossMAE), TMLR 2025, arXiv 2401.14391, sec. 3.
Released code: TonyLianLong/CrossMAE. Same weights, image, mask and predicted patches give its loss to rounding. Where
it differs from the paper, or is incomplete, this is done:

- Weights over the encoder's blocks: the code draws them with std 1/sqrt(number of maps), then its general
  initialisation of linear layers draws them again, Xavier-uniform. We do the latter, which is what its runs began with.
- What is weighted: the input of the first encoder block too, as in all commands of its README (`--use_input`).
- Without weighted features the code calls a final norm of the encoder that it never makes. We take the encoder's.
- It scales the lr by predicted / masked patches. Configs say their lr themselves.
"""
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from pretrain.layout import TokenLayout, take
from pretrain.methods.decoder import PatchDecoder

_NORM: Any = partial(nn.LayerNorm, eps=1e-6)


@MODELS.register_module()
class CrossDecoder(PatchDecoder):
    """Predict pixels of masked patches by cross-attention alone.

    A query, the mask token at the position of its patch, attends to all tokens of the encoder, prefix and visible, and
    to no other query. So a prediction does not depend on which other patches are predicted, and any share of them may
    be left out. Visible patches are no queries; of them each block computes keys and values only.

    Args:
        encoder: the method's encoder, of which only the sizes are read.
        num_values: values to predict for a patch, ph*pw*C.
        embed_dim: width D of the queries.
        depth: number of blocks. Published: 12; the code's default: 8.
        num_heads: attention heads of a block.
        predict_ratio: share of *all* patches that is predicted, in (0, mask ratio]; they are drawn at random from the
            masked ones of each image, and the other masked patches are thrown. None: all masked ones are predicted.
        weighted_features: each block reads its own learned combination of the outputs of all encoder blocks (sec. 3.3);
            else all read the encoder's output after its final norm.

    Raises:
        UserError: a width that the heads do not divide, or a `predict_ratio` outside its range.
    """

    def __init__(
        self,
        encoder: Any,
        num_values: int,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        predict_ratio: float | None = None,
        weighted_features: bool = True,
    ):
        super().__init__(encoder.grid_size, embed_dim)
        if embed_dim % num_heads:
            raise UserError(f"CrossDecoder: got embed_dim={embed_dim} and num_heads={num_heads}; expected a width that "
                            "the number of heads divides")
        if predict_ratio is not None and not 0 < predict_ratio <= 1:
            raise UserError(f"CrossDecoder: got predict_ratio={predict_ratio}; expected a share of all patches in "
                            "(0, 1], at most the mask ratio, or None for all masked patches")
        self.predict_ratio, self.reads_blocks = predict_ratio, weighted_features
        if weighted_features:
            self.features = WeightedFeatures(len(encoder.blocks) + 1, depth, encoder.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.blocks = nn.ModuleList(CrossBlock(embed_dim, encoder.embed_dim, num_heads) for _ in range(depth))
        self.norm = _NORM(embed_dim)
        self.pred = nn.Linear(embed_dim, num_values)

    def forward(self, encoded: Tensor | list[Tensor], layout: TokenLayout, grid: tuple[int, int]) -> Tensor:
        """Decode.

        Args:
            encoded: [B*K, P+V, D_encoder] of `TimmViT.encode`; with weighted features the list of `encode_blocks`.
            layout: roles; its masked patches are predicted.
            grid: patch grid (h, w) of these images.

        Returns:
            [B*K, M, num_values], in the order of `layout.masked`.
        """
        contexts: Sequence[Tensor]
        if isinstance(encoded, Tensor):
            contexts = [encoded] * len(self.blocks)
        else:
            contexts = self.features(encoded)
        queries = self.mask_token + take(self.positions(grid), layout.masked)  # [B*K, M, D]
        for block, context in zip(self.blocks, contexts):
            queries = block(queries, context)
        return self.pred(self.norm(queries))


class WeightedFeatures(nn.Module):
    """Combine the maps of the encoder, for each decoder block with weights and a norm of its own (inter-block
    attention, sec. 3.3).

    Args:
        num_maps: maps to combine, F.
        num_blocks: decoder blocks, J.
        dim: width D of the maps.
    """

    def __init__(self, num_maps: int, num_blocks: int, dim: int):
        super().__init__()
        self.weights = nn.Linear(num_maps, num_blocks, bias=False)  # [J, F]
        self.norms = nn.ModuleList(_NORM(dim) for _ in range(num_blocks))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return J combinations [B, N, D] of the F maps [B, N, D]."""
        # Maps first, tokens last: one product with the weights, and each combination lies in one piece.
        stacked = torch.stack(maps).flatten(1)  # [F, B*N*D]
        combined = (self.weights.weight @ stacked).view(-1, *maps[0].shape)  # [J, B, N, D]
        return [norm(x) for norm, x in zip(self.norms, combined)]


class CrossBlock(nn.Module):
    """Let queries attend to a context, then an MLP; both residual, queries normed before each.

    Args:
        dim: width D of the queries.
        context_dim: width of the context.
        num_heads: attention heads.
    """

    def __init__(self, dim: int, context_dim: int, num_heads: int):
        super().__init__()
        self.heads = (num_heads, dim // num_heads)
        self.norm1 = _NORM(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(context_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = _NORM(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Return [B, M, D] for queries [B, M, D] and a context [B, N, D_context] that has been normed."""
        q = self.q(self.norm1(queries)).unflatten(2, self.heads).transpose(1, 2)  # [B, K, M, d]
        k, v = self.kv(context).unflatten(2, (2, *self.heads)).permute(2, 0, 3, 1, 4)  # [B, K, N, d]
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        queries = queries + self.proj(attended)
        return queries + self.mlp(self.norm2(queries))
