"""Attention that knows where its tokens lie on the patch grid: windows and relative positions around timm's own blocks.

Windows with a few global blocks: ViTDet (Li et al. 2022, arXiv 2203.16527, sec. 3).
Decomposed relative positions: MViTv2 (Li et al. 2021, arXiv 2112.01526, Eq. 4), as ViTDet uses them.
Relative position bias per layer: BEiT (Bao et al. 2021, arXiv 2106.08254), as MAE's segmentation transfer uses it.

The classes take over the submodules of a block that timm built, so every option of timm's Block and Attention (q/k
norm, layer scale, drop path ...) and every parameter name stays; they only add `rel_pos_h`, `rel_pos_w` or
`relative_position_bias_table`. Nothing here runs without `grid`: positions that are left out would go unnoticed.
"""
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn

from mimtransfer.backbones.flex import attend_flex, suits_flex
from mimtransfer.errors import UserError


class DecomposedAttention(Attention):
    """timm's Attention plus a relative position term of each query along height and along width, in windows or not.

    The tables are shared by the heads, zero at the start, and resampled linearly for another grid.

    The terms are part of the dot product: queries are extended by their products with the tables, keys by the one-hot
    row and column they lie in. So no bias of the size of the attention map exists, and flash kernels apply; values are
    extended by zeros, since those kernels ask for one width. Padding of windows has the bias of `qkv` as key and value,
    as it has where zeros pass `qkv`; but nothing is projected for it, and it asks nothing.

    Over the whole grid, in training on CUDA, FlexAttention adds the terms inside its kernel instead, see `flex.py`.

    Args:
        attention: The module whose submodules are taken over; it must not be used afterwards.
        size: (h, w) of the grid, or of a window, that the tables are made for.
        window_size: Side of a window in patches; 0 attends over the whole grid.
        flex_attention: Whether FlexAttention may be used.
    """

    def __init__(self, attention: Attention, size: tuple[int, int], window_size: int = 0,
                 flex_attention: bool = True) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(attention))
        self.window_size = window_size
        self.flex_attention = flex_attention
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * size[0] - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * size[1] - 1, self.head_dim))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:  # type: ignore[override]  # GridBlock alone calls it
        """Attend among the N = h*w tokens of `grid`, [B, N, D] -> [B, N, D]."""
        window = (self.window_size,) * 2 if self.window_size else grid
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).unflatten(1, grid).unbind(3)  # [B, h, w, K, d]
        q, k = self.q_norm(q), self.k_norm(k)
        if self.flex_attention and not self.window_size and suits_flex(q, self.training, self.attn_drop.p):
            return self._project(x, self._attend_flex(q, k, v))
        return self._project(x, self._attend_windows(q, k, v, grid, window))

    def _attend_flex(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend over the whole grid, maps [B, h, w, K, d] -> [B, h, w, K*d]."""
        grid = q.shape[1:3]
        along = (torch.einsum(f"bhwkd,{axis}jd->bkhwj", q, _relative_rows(table, side)).flatten(2, 3)
                 for axis, table, side in zip("hw", (self.rel_pos_h, self.rel_pos_w), grid))
        rows, columns = (terms.float() for terms in along)  # whose gradients are sums of thousands
        q, k, v = (map_.flatten(1, 2).transpose(1, 2) for map_ in (q, k, v))  # [B, K, N, d]
        y = attend_flex(q, k, v, rows, columns, self.scale)
        return y.transpose(1, 2).flatten(2).unflatten(1, grid)

    def _attend_windows(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int],
                        window: tuple[int, int]) -> Tensor:
        """Attend in each window of the grid, maps [B, h, w, K, d] -> [B, h, w, K*d]."""
        bias = torch.zeros_like(q[0, 0, 0]).repeat(3, 1) if self.qkv.bias is None else self.qkv.bias.to(v.dtype)
        _, k_bias, v_bias = bias.view(3, self.num_heads, 1, 1, -1).unbind(0)
        inside = _Window(window, self.k_norm(k_bias).to(k.dtype), v_bias)
        # Whole windows and those that the right and lower edges cut have queries of their own shapes: up to four parts.
        rows = zip(*(_split(map_, window[0], 1) for map_ in (q, self._along(q, grid, window), k, v)))
        parts = (zip(*(_split(map_, window[1], 2) for map_ in row)) for row in rows)
        return _join([_join([self._attend(q, along, k, v, inside) for q, along, k, v in row], 2) for row in parts], 1)

    def _project(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.norm(y.flatten(1, 2))
        if self.gate is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))

    def _along(self, q: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
        """Return the terms of queries [B, h, w, K, d] for each row, then each column of their window, [B, h, w, K, e].

        They are divided by the scale of attention, and filled up with zeros to the width that flash kernels ask for.
        """
        rows, columns = (_relative_rows(table, side)[torch.arange(length, device=q.device) % side] / self.scale
                         for table, side, length in zip((self.rel_pos_h, self.rel_pos_w), window, grid))
        columns = F.pad(columns, (0, 0, 0, -(self.head_dim + sum(window)) % 8))
        along_h = torch.einsum("bhwkd,hjd->bhwkj", q, rows)
        along_w = torch.einsum("bhwkd,wjd->bhwkj", q, columns)
        return torch.cat([along_h, along_w], dim=-1).to(q.dtype)

    def _attend(self, q: Tensor, along: Tensor, k: Tensor, v: Tensor, inside: "_Window") -> Tensor:
        """Attend in the windows of one part, whole or all cut alike, maps [B, h, w, K, ...] -> [B, h, w, K*d]."""
        batch, h, w = q.shape[:3]
        side = min(h, inside.size[0]), min(w, inside.size[1])
        q, along, k, v = (map_.unflatten(2, (-1, side[1])).unflatten(1, (-1, side[0])).permute(0, 1, 3, 5, 2, 4, 6)
                          for map_ in (q, along, k, v))  # [B, rows, columns, K, *side, ...]
        k, v = _pad(k, inside.k, inside.size), _pad(v, inside.v, inside.size)
        where = _rows_and_columns(inside.size, along.shape[-1], k)
        q = torch.cat([q, along], dim=-1)
        k = torch.cat([k, where.expand(*k.shape[:-1], -1)], dim=-1)
        v = F.pad(v, (0, where.shape[-1]))
        windows = q.shape[:3]
        q, k, v = (t.flatten(4, 5).flatten(0, 2) for t in (q, k, v))  # [B', K, N, d + e]
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop.p if self.training else 0.0,
                                           scale=self.scale)
        y = y[..., :self.head_dim].unflatten(2, side).unflatten(0, windows).permute(0, 1, 4, 2, 5, 3, 6)
        return y.reshape(batch, h, w, self.attn_dim)


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

    def forward(  # type: ignore[override]  # GridBlock alone calls it
        self, x: Tensor, grid: tuple[int, int], patches: Tensor | None = None
    ) -> Tensor:
        """Attend among prefix tokens and patches, in this order, [B, N, D] -> [B, N, D].

        Args:
            x: N = P + h*w tokens, or P + n with `patches`.
            grid: (h, w) of the whole image.
            patches: [B, n] int64, the patches that there are; None for all, row-major.
        """
        if patches is None:
            bias = self.bias(grid, x.shape[1] - grid[0] * grid[1])
        else:
            bias = self._bias_among(grid, patches, x.shape[1] - patches.shape[1])
        return super().forward(x, attn_mask=bias.to(x.dtype))

    def _bias_among(self, grid: tuple[int, int], patches: Tensor, num_prefix_tokens: int) -> Tensor:
        """Return the rows and columns of `bias` for some patches of each image, [B, K, P+n, P+n]."""
        whole = self.bias(grid, num_prefix_tokens)[0]  # [K, P+L, P+L]
        prefix = torch.arange(num_prefix_tokens, device=patches.device).expand(len(patches), -1)
        tokens = torch.cat([prefix, patches + num_prefix_tokens], dim=1)  # [B, P+n]
        pairs = tokens[:, :, None] * whole.shape[2] + tokens[:, None, :]
        return whole.flatten(1)[:, pairs].transpose(0, 1)

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
        flex_attention: Whether decomposed positions may be added by FlexAttention.
    """

    def __init__(self, block: Block, window_size: int, rel_pos: str | None, size: tuple[int, int],
                 flex_attention: bool = True) -> None:
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
            assert isinstance(self.attn, Attention)
            self.attn = (DecomposedAttention(self.attn, size, window_size, flex_attention) if rel_pos == "decomposed"
                         else BiasAttention(self.attn, size))

    def forward(  # type: ignore[override]  # TimmViT alone calls it, always with a grid
        self, x: Tensor, grid: tuple[int, int], patches: Tensor | None = None
    ) -> Tensor:
        """Transform tokens [B, N, D]: the h*w patches of `grid`, after prefix tokens where no window is. With a bias
        and no windows also some `patches` only, see `BiasAttention`.
        """
        # Drop path acts on the whole image, not on single windows as in timm's SAM.
        x = x + self.drop_path1(self.ls1(self._attend(self.norm1(x), grid, patches)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend(self, x: Tensor, grid: tuple[int, int], patches: Tensor | None) -> Tensor:
        if patches is not None:
            return self.attn(x, grid=grid, patches=patches)
        if not self.window_size or self.rel_pos == "decomposed":  # which makes its windows itself
            return self._attend_all(x, grid)
        windows, padded_grid = window_partition(x.unflatten(1, grid), self.window_size)  # [B*windows, s, s, D]
        window = (self.window_size, self.window_size)
        windows = self._attend_all(windows.flatten(1, 2), window).unflatten(1, window)
        return window_unpartition(windows, self.window_size, grid, padded_grid).flatten(1, 2)

    def _attend_all(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.attn(x) if self.rel_pos is None else self.attn(x, grid=grid)


class _Window(NamedTuple):
    """Size of a window, and key and value of its padding, [K, 1, 1, d]."""

    size: tuple[int, int]
    k: Tensor
    v: Tensor


def _split(x: Tensor, side: int, dim: int) -> tuple[Tensor, ...]:
    """Cut off what is left behind the last whole window."""
    left = x.shape[dim] % side
    return x.split([n for n in (x.shape[dim] - left, left) if n], dim)


def _join(parts: list[Tensor], dim: int) -> Tensor:
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def _pad(x: Tensor, padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Fill up windows [B, rows, columns, K, h, w, d] on the right and below."""
    for dim, length in ((5, size[1]), (4, size[0])):
        if x.shape[dim] < length:
            shape = (*x.shape[:dim], length - x.shape[dim], *x.shape[dim + 1:])
            x = torch.cat([x, padding.expand(shape)], dim)
    return x


def _rows_and_columns(size: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Return the row and the column of each place of a window, one-hot, filled up with zeros, [h, w, width]."""
    h, w = size
    row = torch.eye(h, dtype=like.dtype, device=like.device)[:, None].expand(h, w, h)
    column = torch.eye(w, width - h, dtype=like.dtype, device=like.device).expand(h, w, -1)
    return torch.cat([row, column], dim=2)


def _offsets(size: int, device: torch.device) -> Tensor:
    """Return query minus key position, shifted to start at 0: [size, size] int64."""
    position = torch.arange(size, device=device)
    return position[:, None] - position[None, :] + size - 1


def _relative_rows(table: Tensor, size: int) -> Tensor:
    """Look up a [R, d] table by query and key of one axis, [size, size, d]; resample it when R is not 2*size - 1."""
    if table.shape[0] != 2 * size - 1:
        table = F.interpolate(table.t()[None].float(), size=2 * size - 1, mode="linear")[0].t().to(table.dtype)
    return table[_offsets(size, table.device)]
