"""Block masking: rectangles (Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, arXiv 2106.08254,
algorithm 1).

Departures from the authors' code, which loops over attempts for each image: all rectangles of a batch are drawn at
once, the last one is cut to the exact count, and one that is longer than the grid is made wider, not drawn again.
"""
import math

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.masking.base import MaskingStrategy


@MASKINGS.register_module()
class BlockMasking(MaskingStrategy):
    """Lay rectangles over the grid, one after the other, and mask what they cover, then throw what the next ones cover.

    A rectangle in which a role ends is cut along a straight line of random direction. Where all rectangles together
    cover too little, patches at random follow. Rectangles lie wholly in the grid, so the middle is masked more often
    than the border, as in BEiT; but every patch has its chance.

    Args:
        mask_ratio: see `MaskingStrategy`; BEiT masks 75 of 196 patches.
        blocks: `masked`, or `visible`: rectangles are what stays visible, the rest is masked and thrown at random.
        area: smallest and largest area of a rectangle, as shares of the grid; BEiT: 16 to 75 of 196 patches.
        min_aspect: smallest ratio of height to width in cells, the largest is its inverse; log-uniform between.
        num_blocks: rectangles to draw for an image; 16 of BEiT's size leave a tenth of a grid uncovered.
    """

    def __init__(
        self,
        mask_ratio: float = 75 / 196,
        throw_ratio: float = 0.0,
        unit: int = 1,
        blocks: str = "masked",
        area: tuple[float, float] = (16 / 196, 75 / 196),
        min_aspect: float = 0.3,
        num_blocks: int = 16,
    ):
        super().__init__(mask_ratio, throw_ratio, unit)
        if blocks not in ("masked", "visible"):
            raise UserError(f"BlockMasking: got blocks={blocks!r}; expected 'masked' or 'visible'")
        if not 0 < area[0] <= area[1] <= 1:
            raise UserError(f"BlockMasking: got area={area}; expected shares of the grid, 0 < smallest <= largest <= 1")
        if not 0 < min_aspect <= 1:
            raise UserError(f"BlockMasking: got min_aspect={min_aspect}; expected 0 < min_aspect <= 1")
        self.blocks, self.area, self.min_aspect, self.num_blocks = blocks, area, min_aspect, num_blocks

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        cells = self.cells(grid)
        visible, masked, thrown = self.counts(cells[0] * cells[1])
        order = self.block_order(cells, generator)
        if self.blocks == "masked":
            return TokenLayout.from_order(order, masked, thrown).repeat(self.unit, grid)
        shown, rest = order[:, :visible], order[:, visible:]
        rest = rest.gather(1, generator.uniform(order.shape[1])[:, visible:].argsort(1))
        return TokenLayout(shown, rest[:, :masked], rest[:, masked:]).repeat(self.unit, grid)

    def block_order(self, cells: tuple[int, int], generator: SampleGenerator) -> Tensor:
        """Order the cells by the rectangle that covers them first: [B, L] int64; uncovered ones last, at random."""
        covers = self.draw_blocks(cells, generator).flatten(2)  # [B, n, L]
        # Number of the first rectangle: argmax of booleans finds the first True.
        turn = torch.where(covers.any(1), covers.byte().argmax(1), self.num_blocks)  # [B, L]
        inside = along_a_line(cells, generator.uniform(1))
        # `within` is in (0, 1); halved, so that rounding never reaches the next turn.
        within = torch.where(turn < self.num_blocks, inside, generator.uniform(turn.shape[1]))
        return (turn + 0.5 * within).argsort(1)

    def draw_blocks(self, cells: tuple[int, int], generator: SampleGenerator) -> Tensor:
        """Draw the rectangles: [B, n, h, w] bool, True = covered."""
        h, w = cells
        area, aspect, top, left = generator.uniform(4, self.num_blocks).unbind(1)  # [B, n] each, in (0, 1)
        area = h * w * (self.area[0] + (self.area[1] - self.area[0]) * area)
        aspect = torch.exp(math.log(self.min_aspect) * (2 * aspect - 1))
        height = torch.maximum((area * aspect).sqrt(), area / w).clamp(1, h).round()
        width = (area / height).round().clamp(1, w)
        top, left = (top * (h - height + 1)).floor(), (left * (w - width + 1)).floor()
        rows = _interval(top, height, h)  # [B, n, h]
        columns = _interval(left, width, w)
        return rows[..., :, None] & columns[..., None, :]


def along_a_line(cells: tuple[int, int], direction: Tensor) -> Tensor:
    """Order the cells along a line: [B, L] float in (0, 1).

    Args:
        direction: [B, 1] float in (0, 1), the share of a full turn.
    """
    y, x = torch.meshgrid(*(torch.arange(side, device=direction.device) for side in cells), indexing="ij")
    angle = 2 * math.pi * direction
    along = angle.sin() * y.flatten() + angle.cos() * x.flatten()  # [B, L], between -(h + w) and h + w
    return 0.5 + 0.5 * along / sum(cells)


def _interval(start: Tensor, length: Tensor, side: int) -> Tensor:
    offset = torch.arange(side, device=start.device) - start[..., None]
    return (offset >= 0) & (offset < length[..., None])
