"""Multi-block masking of I-JEPA: a few target blocks, and a context around them (Assran et al., CVPR 2023, arXiv
2301.08243, sec. 3 and appendix A).

A row of the layout is one target block: masked are its patches, visible the context, the same for all blocks of an
image; the number of blocks is the method's `masks_per_image`. Target blocks may overlap, the context holds no patch of
any of them.

Departures from the released code (facebookresearch/ijepa, src/masks/multiblock.py):
- Counts are static. There the size of the blocks is drawn for each batch, and contexts are cut to the smallest of the
  batch, so what an image shows depends on its neighbours. With the published ranges and batches of 128, 224 pixels and
  patches of 16, a block has 30 to 36 of 196 patches (mean 33) and a context 36 to 64 (mean 51); here each has the mean.
- What is too much is cut along a line of random direction, there always at the bottom.
- Every patch can be a target: there the ranges of the corners end too early, and none is in the last row or column.
- Where target blocks leave too few patches of the context block, others follow, there the block is drawn again.
"""
import math

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, for_each_mask
from pretrain.masking.base import MaskingStrategy
from pretrain.masking.block import along_a_line


@MASKINGS.register_module()
class MultiBlockMasking(MaskingStrategy):
    """Mask one block in each mask of an image; what is visible is the same in all of them, outside of all blocks.

    Args:
        mask_ratio: share of the patches in one target block.
        throw_ratio: share that is neither in this target block nor in the context; None: what leaves 51 of 196 patches
            visible, or 0 where the block is larger than that allows.
        aspect: smallest and largest ratio of height to width of a target block.
        context: smallest and largest area of the block that the context is taken from, as shares of the grid; the
            block has the shape of the grid.
    """

    shares_visible = True

    def __init__(self, mask_ratio: float = 33 / 196, throw_ratio: float | None = None, unit: int = 1,
                 aspect: tuple[float, float] = (0.75, 1.5), context: tuple[float, float] = (0.85, 1.0)):
        super().__init__(mask_ratio, max(0.0, 145 / 196 - mask_ratio) if throw_ratio is None else throw_ratio, unit)
        if not 0 < aspect[0] <= aspect[1]:
            raise UserError(f"MultiBlockMasking: got aspect={aspect}; expected 0 < smallest <= largest")
        if not 0 < context[0] <= context[1] <= 1:
            raise UserError(f"MultiBlockMasking: got context={context}; expected shares of the grid, 0 < smallest <= "
                            "largest <= 1")
        self.aspect, self.context = aspect, context

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        cells = self.cells(grid)
        visible, masked, _ = self.counts(cells[0] * cells[1])
        draws = generator.uniform(3)  # [B*K, 3]: aspect, top, left
        line = along_a_line(cells, generator.uniform(1))  # [B*K, L] in (0, 1)
        area = generator.uniform(3)  # area, top, left of the context block, of the first mask
        rows = len(draws)
        first = slice(None, None, rows // len(images))
        outside = self.outside_targets(cells, masked, draws)  # [B*K, L]

        in_targets = (outside == 0).unflatten(0, (len(images), -1)).any(1)  # [B, L]
        # Context block without targets, then what else is no target; targets only where nothing else is left.
        rank = self.outside_context(cells, area[first]) + 2 * in_targets
        context = (rank + line[first]).argsort(1)[:, :visible]  # [B, V]
        shown = torch.zeros_like(in_targets).scatter(1, context, True)
        # The block, then the patches that are nearest to it; visible ones last.
        order = (outside + line + 2 * sum(cells) * for_each_mask(shown, rows)).argsort(1)
        hidden = order[:, : order.shape[1] - visible]
        layout = TokenLayout(for_each_mask(context, rows), hidden[:, :masked], hidden[:, masked:])
        return layout.repeat(self.unit, grid)

    def outside_targets(self, cells: tuple[int, int], area: int, draws: Tensor) -> Tensor:
        """Return how many cells each cell lies outside of the target block of each row, 0 = inside: [B*K, L] float."""
        h, w = cells
        aspect, top, left = draws[:, :, None].unbind(1)  # [B*K, 1] each
        aspect = self.aspect[0] + (self.aspect[1] - self.aspect[0]) * aspect
        # As high as the aspect says, then as wide as the area needs.
        height = (area * aspect).sqrt().round().clamp(min(h, max(1, math.ceil(area / w))), h)
        width = (area / height).ceil()
        return _outside(cells, height, width, top, left)

    def outside_context(self, cells: tuple[int, int], draws: Tensor) -> Tensor:
        """Return 0. for the cells of the context block, 1. for others: [B, L] float."""
        share, top, left = draws[:, :, None].unbind(1)
        side = (self.context[0] + (self.context[1] - self.context[0]) * share).sqrt()
        return _outside(cells, (side * cells[0]).round(), (side * cells[1]).round(), top, left).clamp(max=1)


def _outside(cells: tuple[int, int], height: Tensor, width: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Place blocks wholly in the grid, `top` and `left` in (0, 1), and return the distance of each cell to them."""
    h, w = cells
    top, left = (top * (h - height + 1)).floor(), (left * (w - width + 1)).floor()
    y, x = (torch.arange(side, device=top.device) for side in cells)
    rows = torch.maximum(top - y, y - (top + height - 1)).clamp(min=0)  # [B, h]
    columns = torch.maximum(left - x, x - (left + width - 1)).clamp(min=0)
    return torch.maximum(rows[:, :, None], columns[:, None, :]).flatten(1)
