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
    """timm's Attention plus a relative position term of each query along height and along width, in windows or not.

    The tables are shared by the heads, zero at the start, and resampled linearly for another grid.

    The terms are part of the dot product: queries are extended by their products with the tables, keys by the one-hot
    row and column they lie in. So no bias of the size of the attention map exists, and flash kernels apply; values are
    extended by zeros, since those kernels ask for one width. Padding of windows has the bias of `qkv` as key and value,
    as it has where zeros pass `qkv`, but passes neither `qkv` nor `proj`.

    Args:
        attention: The module whose submodules are taken over; it must not be used afterwards.
        size: (h, w) of the grid, or of a window, that the tables are made for.
        window_size: Side of a window in patches; 0 attends over the whole grid.
    """

    def __init__(self, attention: Attention, size: tuple[int, int], window_size: int = 0) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(attention))
        self.window_size = window_size
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size[0] - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size[1] - 1, self.head_dim))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                grid: tuple[int, int] | None = None) -> Tensor:
        """Attend among the N = h*w tokens of `grid`, [B, N, D] -> [B, N, D]."""
        if grid is None:
            return super().forward(x, attn_mask, is_causal)
        (h, w), batch = grid, len(x)
        size = wh, ww = (self.window_size,) * 2 if self.window_size else grid
        qkv = _pad(self.qkv(x).unflatten(1, grid), self.qkv.bias, (-h % wh, -w % ww))  # [B, H, W, 3*K*d]
        windows = qkv.unflatten(3, (3, self.num_heads, -1)).unflatten(2, (-1, ww)).unflatten(1, (-1, wh))
        q, k, v = windows.permute(5, 0, 1, 3, 6, 2, 4, 7).unbind(0)  # [B, H/wh, W/ww, K, wh, ww, d]
        q, k, v = self._extend(self.q_norm(q), self.k_norm(k), v)  # [B', K, wh*ww, d']
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop.p if self.training else 0.0,
                                           scale=self.scale)
        y = y[..., :self.head_dim].transpose(1, 2)
        y = y.unflatten(1, size).unflatten(0, (batch, -(-h // wh), -(-w // ww)))  # [B, H/wh, W/ww, wh, ww, K, d]
        y = y.transpose(2, 3).flatten(5).flatten(3, 4).flatten(1, 2)[:, :h, :w]
        y = self.norm(y.reshape(batch, h * w, self.attn_dim))
        if self.gate is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))

    def _extend(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Add relative positions to windows [B, H/wh, W/ww, K, wh, ww, d]; return them as [B', K, wh*ww, d']."""
        h, w, width = q.shape[-3:]
        unused = -(width + h + w) % 8  # flash kernels ask for multiples of 8
        rows = _relative_rows(self.rel_pos_h, h) / self.scale  # attention will scale the sum
        columns = F.pad(_relative_rows(self.rel_pos_w, w) / self.scale, (0, 0, 0, unused))
        along_h = torch.einsum("...hwd,hjd->...hwj", q, rows)
        along_w = torch.einsum("...hwd,wjd->...hwj", q, columns)
        row = torch.eye(h, dtype=k.dtype, device=k.device)[:, None].expand(h, w, h)
        column = torch.eye(w, w + unused, dtype=k.dtype, device=k.device).expand(h, w, -1)
        where = torch.cat([row, column], dim=2)
        q = torch.cat([q, along_h.to(q.dtype), along_w.to(q.dtype)], dim=-1)
        k = torch.cat([k, where.expand(*k.shape[:-1], -1)], dim=-1)
        v = F.pad(v, (0, where.shape[-1]))
        return tuple(t.flatten(4, 5).flatten(0, 2) for t in (q, k, v))


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
            size = (window_size, window_size) if window_size else size
            self.attn = (DecomposedAttention(self.attn, size, window_size) if rel_pos == "decomposed"
                         else BiasAttention(self.attn, size))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                grid: tuple[int, int] | None = None) -> Tensor:
        """Transform tokens [B, N, D]; with `grid` they are its h*w patches, after prefix tokens where no window is."""
        if grid is None:
            return super().forward(x, attn_mask, is_causal)
        # Drop path acts on the whole image, not on single windows as in timm's SAM.
        x = x + self.drop_path1(self.ls1(self._attend(self.norm1(x), grid)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if not self.window_size or self.rel_pos == "decomposed":  # which makes its windows itself
            return self._attend_all(x, grid)
        windows, padded_grid = window_partition(x.unflatten(1, grid), self.window_size)  # [B*windows, s, s, D]
        window = (self.window_size, self.window_size)
        windows = self._attend_all(windows.flatten(1, 2), window).unflatten(1, window)
        return window_unpartition(windows, self.window_size, grid, padded_grid).flatten(1, 2)

    def _attend_all(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.attn(x) if self.rel_pos is None else self.attn(x, grid=grid)


def _pad(x: Tensor, bias: Tensor | None, amount: tuple[int, int]) -> Tensor:
    """Append rows and columns of `bias` [C], or zeros, to maps [B, h, w, C]."""
    bottom, right = amount
    bias = x.new_zeros(x.shape[-1]) if bias is None else bias.to(x.dtype)
    if right:
        x = torch.cat([x, bias.expand(*x.shape[:2], right, -1)], dim=2)
    if bottom:
        x = torch.cat([x, bias.expand(len(x), bottom, x.shape[2], -1)], dim=1)
    return x


def _offsets(size: int, device: torch.device) -> Tensor:
    """Return query minus key position, shifted to start at 0: [size, size] int64."""
    position = torch.arange(size, device=device)
    return position[:, None] - position[None, :] + size - 1


def _relative_rows(table: Tensor, size: int) -> Tensor:
    """Look up a [R, d] table by query and key of one axis, [size, size, d]; resample it when R is not 2*size - 1."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.t()[None].float(), size=2 * size - 1, mode="linear")[0].t().to(table.dtype)
    return table[_offsets(size, table.device)]
