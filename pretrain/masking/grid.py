"""Grid masking: a regular pattern (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv
2111.06377, fig. 6 and table 1f).
"""
import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout
from pretrain.masking.base import MaskingStrategy


@MASKINGS.register_module()
class GridMasking(MaskingStrategy):
    """Divide the grid into tiles and give the same roles to the patches of every tile.

    MAE's pattern is that of the defaults: one patch of each 2 x 2 tile is visible, at the same place in all tiles.
    Which one is drawn for each image (MAE does not say; a fixed one would never show 3 of 4 patches).

    For every ratio, the places of a tile are put into one random order for the image; whole places are masked, then
    thrown, the last ones stay visible. So the pattern is regular where masked and hidden shares are multiples of
    1 / tile^2 and the tiles fit into the grid: at 0.5, rows, columns or a checkerboard. Elsewhere, a place at which a
    role ends is cut at random to the exact count: at 0.85, three fifths of one place are visible. With `tile=3`, the
    regular shares are ninths.

    Args:
        tile: side of a tile in cells.
    """

    def __init__(self, mask_ratio: float = 0.75, throw_ratio: float = 0.0, unit: int = 1, tile: int = 2):
        super().__init__(mask_ratio, throw_ratio, unit)
        if tile < 2:
            raise UserError(f"GridMasking: got tile={tile}; expected 2 or more (RandomMasking has no tiles)")
        self.tile = tile

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        h, w = self.cells(grid)
        row, column = (torch.arange(side, device=images.device) % self.tile for side in (h, w))
        place = (row[:, None] * self.tile + column).flatten()  # [L]
        turn = generator.uniform(self.tile**2).argsort(1)[:, place]  # [B, L]
        # Random inside a place; halved, so that rounding never reaches the next turn.
        order = (turn + 0.5 * generator.uniform(h * w)).argsort(1)
        _, masked, thrown = self.counts(h * w)
        return TokenLayout.from_order(order, masked, thrown).repeat(self.unit, grid)
