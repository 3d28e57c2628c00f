"""What every masking strategy shares: ratios to counts, and the drawing by weights.

A strategy sees images, the record of their augmentation and the patch grid; never an embedding, a parameter, an epoch
or a loss. To write a new one, subclass `WeightedMasking`, write `weights()`, and register the class in `MASKINGS`;
`tests/pretrain/masking/test_contract.py` then checks it.
"""
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.aug_record import AugRecord
from pretrain.layout import TokenLayout, for_each_mask


class Counts(NamedTuple):
    """How many patches (or cells) of an image play each role."""

    visible: int
    masked: int
    thrown: int


class MaskingStrategy(ABC):
    """Decide which patch plays which role.

    Args:
        mask_ratio: share of the patches that are predicted, in [0, 1].
        throw_ratio: share that is in no sequence and no loss, in [0, 1 - mask_ratio).
        unit: side of a cell in patches; a cell has one role (SimMIM: 32-pixel cells of 16-pixel patches, unit 2).

    Attributes:
        shares_visible: the masks of an image show the same patches, in the same order, so they are encoded once.

    Raises:
        UserError: ratios that leave no patch visible, or that are outside their range.
    """

    shares_visible = False

    def __init__(self, mask_ratio: float, throw_ratio: float = 0.0, unit: int = 1):
        self.set_ratios(mask_ratio, throw_ratio)
        if unit < 1:
            raise UserError(f"{type(self).__name__}: got unit={unit}; expected an integer number of patches, 1 or more")
        self.unit = unit

    def set_ratios(self, mask_ratio: float, throw_ratio: float) -> None:
        """Take other ratios from the next draw on (`PhaseHook`). Raises: UserError, as the class."""
        if not (0 <= mask_ratio <= 1 and 0 <= throw_ratio <= 1 and mask_ratio + throw_ratio < 1):
            raise UserError(
                f"{type(self).__name__}: got mask_ratio={mask_ratio}, throw_ratio={throw_ratio}; "
                "expected both >= 0 and a sum below 1, so that something stays visible"
            )
        self.mask_ratio, self.throw_ratio = mask_ratio, throw_ratio

    def counts(self, num_cells: int) -> Counts:
        """Return the number of visible, masked and thrown cells: masked = floor(L r_m), masked + thrown =
        floor(L (r_m + r_t)).

        This is the rule of the released AMT code. Official MAE keeps int(L (1 - r)) patches, which differs by one where
        L r is not whole.
        """
        # 1e-9 undoes binary fractions: 100 * 0.29 is 28.999999999999996.
        masked = int(num_cells * self.mask_ratio + 1e-9)
        hidden = int(num_cells * (self.mask_ratio + self.throw_ratio) + 1e-9)
        return Counts(num_cells - hidden, masked, hidden - masked)

    def cells(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the grid in cells.

        Raises:
            UserError: `unit` does not divide the patch grid.
        """
        if grid[0] % self.unit or grid[1] % self.unit:
            raise UserError(
                f"{type(self).__name__}: got a grid of {grid[0]} x {grid[1]} patches and unit={self.unit}; "
                "expected a grid that is a multiple of the unit: change the image size or the unit"
            )
        return grid[0] // self.unit, grid[1] // self.unit

    @abstractmethod
    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch, as many rows as the generator has.

        Args:
            images: [B, C, H, W] float, normalised.
            record: where the crops came from; None where a strategy is used without a data set (pictures, benchmarks).
            grid: (h, w) in patches.
            generator: the only source of randomness. Of B*K streams, row b*K + k for mask k of image b: what is known
                of an image is computed once, and repeated by `for_each_mask` where it meets a draw.
        """

    def look_up(self, index: Tensor) -> Tensor | None:
        """Return what is stored for images `index` [B] int64 on the CPU, as rows on the CPU; None: nothing is."""
        return None

    def picture(self, record: AugRecord, grid: tuple[int, int]) -> tuple[str, Tensor] | None:
        """Return what the roles of these images are drawn from, to be looked at: a title and heat [B, h', w'] in
        [0, 1] of any resolution. None: there is no such map.
        """
        return None


class WeightedMasking(MaskingStrategy):
    """Draw patches one by one in proportion to a weight: the first are masked, the next thrown, the rest visible.

    Args:
        throw: `middle` throws the middle of the drawing order (released AMT and FAMT code); `lowest` throws its end,
            the least weighted patches, and shows the middle (the text of both papers).
    """

    def __init__(self, mask_ratio: float, throw_ratio: float = 0.0, unit: int = 1, throw: str = "middle"):
        super().__init__(mask_ratio, throw_ratio, unit)
        if throw not in ("middle", "lowest"):
            raise UserError(f"{type(self).__name__}: got throw={throw!r}; expected 'middle' or 'lowest'")
        self.throw = throw

    @abstractmethod
    def weights(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int]) -> Tensor:
        """Return [B, L] float >= 0 on the device of the images, any scale: how likely each cell is drawn (masked)
        first.
        """

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        cells = self.cells(grid)
        order = sample_order(self.weights(images, record, cells), generator)
        visible, masked, thrown = self.counts(cells[0] * cells[1])
        layout = TokenLayout.from_order(order, masked, thrown)
        if self.throw == "lowest":
            first, rest = order[:, :masked], order[:, masked:]
            layout = TokenLayout(rest[:, :visible], first, rest[:, visible:])
        return layout.repeat(self.unit, grid)


def sample_order(weights: Tensor, generator: SampleGenerator) -> Tensor:
    """Draw all patches one after the other without replacement, each with probability in proportion to its weight.

    Sorting Exp(1) / w ascending is such a draw (Efraimidis and Spirakis, 2006); in logarithms it is defined at weight 0
    as well: those come last, in random order.

    Args:
        weights: [B, L] float, >= 0, any scale.
        generator: of B*K streams.

    Returns:
        [B*K, L] int64, patch indices, first drawn first.
    """
    weights = weights.float()
    # The logarithm of a positive float32 is above -104, so -256 is below every drawable weight.
    log_weights = torch.where(weights > 0, weights.clamp_min(torch.finfo(torch.float32).tiny).log(), -256.0)
    draws = generator.exponential(weights.shape[1]).log()
    return (draws - for_each_mask(log_weights, len(draws))).argsort(1)
