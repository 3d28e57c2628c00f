"""Attention on the whole patch grid, for transfer: windows and relative positions around timm's own blocks.

Windows with a few global blocks: ViTDet (Li et al. 2022, arXiv 2203.16527, sec. 3).
Decomposed relative positions: MViTv2 (Li et al. 2021, arXiv 2112.01526, Eq. 4), as ViTDet uses them.
Relative position bias per layer: BEiT (Bao et al. 2021, arXiv 2106.08254), as MAE's segmentation transfer uses it.

The classes take over the submodules of a block that timm built, so every option of timm's Block and Attention (q/k
norm, layer scale, drop path ...) and every parameter name stays; they only add `rel_pos_h`, `rel_pos_w` or
`relative_position_bias_table`. Without `grid` they are exactly timm's: that is how `TimmViT.encode` runs them on a
subset of tokens.
"""
import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn

from mimtransfer.errors import UserError


class DecomposedAttention(Attention):
    """timm's Attention plus a relative position term of each query along height and along width.

    The tables are shared by the heads, zero at the start, and resampled linearly for another grid.

    Args:
        attention: The module whose submodules are taken over; it must not be used afterwards.
        size: (h, w) of the grid that the tables are made for.
    """

    def __init__(self, attention: Attention, size: tuple[int, int]) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(attention))
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size[0] - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size[1] - 1, self.head_dim))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                grid: tuple[int, int] | None = None) -> Tensor:
        """Attend among the N = h*w tokens of `grid`, [B, N, D] -> [B, N, D]."""
        if grid is None:
            return super().forward(x, attn_mask, is_causal)
        batch, num_tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, num_tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # [B, K, N, d]
        q, k = self.q_norm(q), self.k_norm(k)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q, grid),
                                           dropout_p=self.attn_drop.p if self.training else 0.0)
        y = self.norm(y.transpose(1, 2).reshape(batch, num_tokens, self.attn_dim))
        if self.gate is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))

    def _bias(self, q: Tensor, grid: tuple[int, int]) -> Tensor:
        # As timm's get_decomposed_rel_pos_bias, which indexes with CPU tensors: a copy and a stall per block on a GPU.
        q = q.unflatten(2, grid)  # [B, K, h, w, d]
        along_h = torch.einsum("bkhwd,hjd->bkhwj", q, _relative_rows(self.rel_pos_h, grid[0]))
        along_w = torch.einsum("bkhwd,wjd->bkhwj", q, _relative_rows(self.rel_pos_w, grid[1]))
        bias = along_h[..., :, None] + along_w[..., None, :]  # [B, K, h, w, h, w]
        return bias.flatten(4).flatten(2, 3).to(q.dtype)


class BiasAttention(Attention):
    """timm's Attention plus a learned bias per head and relative position (BEiT).

    The table is zero at the start and resampled bicubically for another grid. Its last three rows belong to prefix
    tokens: prefix to patch, patch to prefix, prefix to prefix; all prefix tokens share them.

    Args:
        attention: The module whose submodules are taken over; it must not be used afterwards.
        size: (h, w) of the grid that the table is made for.
    """

    def __init__(self, attention: Attention, size: tuple[int, int]) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(attention))
        self.table_size = (2 * size[0] - 1, 2 * size[1] - 1)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros(self.table_size[0] * self.table_size[1] + 3, self.num_heads))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                grid: tuple[int, int] | None = None) -> Tensor:
        """Attend among N = P + h*w tokens, prefix tokens first, [B, N, D] -> [B, N, D]."""
        if grid is None:
            return super().forward(x, attn_mask, is_causal)
        return super().forward(x, attn_mask=self.bias(grid, x.shape[1] - grid[0] * grid[1]).to(x.dtype))

    def bias(self, grid: tuple[int, int], num_prefix_tokens: int) -> Tensor:
        """Return the bias of each head for a grid, [1, K, P+L, P+L]."""
        h, w = grid
        table = self.relative_position_bias_table.t()  # [K, R + 3]
        patches = table[:, :-3].unflatten(1, self.table_size)[None]  # [1, K, 2h-1, 2w-1]
        if self.table_size != (2 * h - 1, 2 * w - 1):
            patches = F.interpolate(patches.float(), size=(2 * h - 1, 2 * w - 1), mode="bicubic").to(table.dtype)
        # Row and column offsets one after the other: the gradient never scatters over an L x L index.
        bias = patches[0].index_select(1, _offsets(h, table.device).flatten())
        bias = bias.index_select(2, _offsets(w, table.device).flatten())  # [K, h*h, w*w]
        bias = bias.unflatten(1, (h, h)).unflatten(3, (w, w)).transpose(2, 3).reshape(-1, h * w, h * w)
        if num_prefix_tokens:
            to_patch, to_prefix, among = (row[:, None, None] for row in table[:, -3:].unbind(1))
            above = torch.cat([among.expand(-1, num_prefix_tokens, num_prefix_tokens),
                               to_patch.expand(-1, num_prefix_tokens, h * w)], dim=2)
            bias = torch.cat([above, torch.cat([to_prefix.expand(-1, h * w, num_prefix_tokens), bias], dim=2)], dim=1)
        return bias[None]  # [1, K, N, N]


class GridBlock(Block):
    """timm's Block that may attend inside windows and with relative positions.

    Windows are padded with zeros *after* the first norm and the padding is attended, as in ViTDet.

    Args:
        block: The block whose submodules are taken over; it must not be used afterwards.
        window_size: Side of a window in patches; 0 attends over the whole grid.
        rel_pos: 'decomposed', 'bias' or None.
        size: (h, w) of the grid that relative positions are made for, when the block is not windowed.
    """

    def __init__(self, block: Block, window_size: int, rel_pos: str | None, size: tuple[int, int]) -> None:
        if type(block) is not Block or type(block.attn) is not Attention:
            raise UserError(f"windows and relative positions need timm's plain Block and Attention, got "
                            f"{type(block).__name__} with {type(block.attn).__name__}: take another arch, "
                            f"or window_size=0 and rel_pos=None")
        nn.Module.__init__(self)
        vars(self).update(vars(block))
        self.window_size = window_size
        self.rel_pos = rel_pos
        if rel_pos is not None:
            attention = {"decomposed": DecomposedAttention, "bias": BiasAttention}[rel_pos]
            self.attn = attention(self.attn, (window_size, window_size) if window_size else size)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                grid: tuple[int, int] | None = None) -> Tensor:
        """Transform tokens [B, N, D]; with `grid` they are its h*w patches, after prefix tokens where no window is."""
        if grid is None:
            return super().forward(x, attn_mask, is_causal)
        # Drop path acts on the whole image, not on single windows as in timm's SAM.
        x = x + self.drop_path1(self.ls1(self._attend(self.norm1(x), grid)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if not self.window_size:
            return self._attend_all(x, grid)
        windows, padded_grid = window_partition(x.unflatten(1, grid), self.window_size)  # [B*windows, s, s, D]
        window = (self.window_size, self.window_size)
        windows = self._attend_all(windows.flatten(1, 2), window).unflatten(1, window)
        return window_unpartition(windows, self.window_size, grid, padded_grid).flatten(1, 2)

    def _attend_all(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.attn(x) if self.rel_pos is None else self.attn(x, grid=grid)


def _offsets(size: int, device: torch.device) -> Tensor:
    """Return query minus key position, shifted to start at 0: [size, size] int64."""
    position = torch.arange(size, device=device)
    return position[:, None] - position[None, :] + size - 1


def _relative_rows(table: Tensor, size: int) -> Tensor:
    """Look up a [R, d] table by query and key of one axis, [size, size, d]; resample it when R is not 2*size - 1."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.t()[None].float(), size=2 * size - 1, mode="linear")[0].t().to(table.dtype)
    return table[_offsets(size, table.device)]
