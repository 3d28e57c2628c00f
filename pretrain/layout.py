"""TokenLayout: which patch is visible, masked or thrown. The whole interface between a strategy and a method.

With K masks of each image a layout has B*K rows, row b*K + k for mask k of image b, and what belongs to images
(patches, tokens, targets, weights) keeps B rows: `take`, `hide` and `for_each_mask` bring the two together.
"""
from typing import NamedTuple

import torch
from torch import Tensor


class TokenLayout(NamedTuple):
    """Roles of the patches of a batch: disjoint, together each patch 0..L-1 exactly once, counts equal for all rows.

    Indices are patch indices, row-major; prefix tokens (class, registers) are not counted.

    Attributes:
        visible: [B, V] int64, what the encoder may see.
        masked: [B, M] int64, what is predicted; the order is the order of prediction (MaPeT), else without meaning.
        thrown: [B, T] int64, in no sequence and no loss; T may be 0.
    """

    visible: Tensor
    masked: Tensor
    thrown: Tensor

    @classmethod
    def from_order(cls, order: Tensor, num_masked: int, num_thrown: int = 0) -> "TokenLayout":
        """Give the first drawn patches the role masked, the next thrown, the rest visible (AMT sec. 3.2, released
        code).

        Args:
            order: [B, L] int64, a permutation of the patches in each row.
        """
        masked, thrown, visible = order.split([num_masked, num_thrown, order.shape[1] - num_masked - num_thrown], dim=1)
        return cls(visible, masked, thrown)

    def repeat(self, unit: int, grid: tuple[int, int]) -> "TokenLayout":
        """Turn a layout of coarse cells into one of patches, `unit` x `unit` patches to a cell.

        Args:
            grid: (h, w) of the *patches*, both multiples of `unit`.
        """
        if unit == 1:
            return self
        width = grid[1]
        return TokenLayout(*(_cells_to_patches(cells, unit, width) for cells in self))

    def mask(self) -> Tensor:
        """Return [B, L] bool, True = masked (predicted)."""
        return self._indicator(self.masked)

    def roles(self) -> Tensor:
        """Return [B, L] int64: 0 visible, 1 masked, 2 thrown. For pictures."""
        return self._indicator(self.masked).long() + 2 * self._indicator(self.thrown).long()

    def _indicator(self, indices: Tensor) -> Tensor:
        num_patches = sum(part.shape[1] for part in self)
        flags = torch.zeros(len(indices), num_patches, dtype=torch.bool, device=indices.device)
        return flags.scatter_(1, indices, True)


def _cells_to_patches(cells: Tensor, unit: int, width: int) -> Tensor:
    row, column = cells // (width // unit) * unit, cells % (width // unit) * unit
    first = row * width + column  # [B, n]
    offset = torch.arange(unit, device=cells.device)
    inside = (offset[:, None] * width + offset).flatten()  # [unit^2]
    return (first[:, :, None] + inside).flatten(1)


def take(tokens: Tensor, indices: Tensor) -> Tensor:
    """Gather tokens by patch index: [B or 1, L, D] and [B*K, n] int64 -> [B*K, n, D], row b*K + k from image b."""
    # Indexing, not torch.gather: its backward is a plain index_put, and one table serves the whole batch.
    if tokens.shape[0] == 1:
        return tokens[0][indices]
    # The K rows of an image are one long row of it, so its tokens are copied no K times.
    of_image = indices.reshape(len(tokens), -1)  # [B, K*n]
    taken = torch.gather(tokens, 1, of_image.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return taken.view(*indices.shape, tokens.shape[-1])


def hide(tokens: Tensor, layout: TokenLayout, mask_token: Tensor) -> Tensor:
    """Put the mask token into the places of masked patches: [B, L, ..., D] -> [B*K, L, ..., D].

    Args:
        mask_token: broadcasts to the tokens.
    """
    mask = layout.mask().unflatten(0, (len(tokens), -1))  # [B, K, L]
    mask = mask.view(*mask.shape, *[1] * (tokens.dim() - 2))
    return torch.where(mask, mask_token.to(tokens.dtype), tokens.unsqueeze(1)).flatten(0, 1)


def for_each_mask(values: Tensor, rows: int) -> Tensor:
    """Repeat what belongs to images for the masks of each: [B, ...] -> [B*K, ...] = [rows, ...]; no copy if K = 1."""
    if len(values) == rows:
        return values
    return values.unsqueeze(1).expand(-1, rows // len(values), *values.shape[1:]).flatten(0, 1)
