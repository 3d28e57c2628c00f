"""When maps of the training images are measured, and which of them a checkpoint needs: the arithmetic of `MapBankHook`.

Published: first maps after 40 of 400 epochs, then every 40 (AMT sec. 3.2, arXiv 2211.15362); as shares 0.1 and 0.1.
"""
import math
from dataclasses import dataclass
from fractions import Fraction

from mimtransfer.errors import UserError


@dataclass(frozen=True)
class MapSchedule:
    """After how much training maps are measured.

    Args:
        begin: before the first maps: an int counts whole epochs, a float is a share of the training, in [0, 1).
        interval: between maps, counted likewise, in (0, 1].
        min_images: `begin` waits until so many images were shown, epochs x size of the training set.

    Raises:
        UserError: a value out of its range.
    """

    begin: int | float
    interval: int | float
    min_images: int = 0

    def __post_init__(self) -> None:
        begin, interval, got = self.begin, self.interval, f"got begin={self.begin}, interval={self.interval}; expected"
        if not (_counts(begin, 0) or (isinstance(begin, float) and 0 <= begin < 1)):
            raise UserError(f"MapBankHook: {got} begin as an integer number of epochs, 0 or more, or as a share of the "
                            "training, a float of 0.0 to below 1.0")
        if not (_counts(interval, 1) or (isinstance(interval, float) and 0 < interval <= 1)):
            raise UserError(f"MapBankHook: {got} interval as an integer number of epochs, 1 or more, or as a share of "
                            "the training, a float above 0.0 to 1.0")
        if not _counts(self.min_images, 0):
            raise UserError(f"MapBankHook: got min_images={self.min_images}; expected a number of images, 0 or more")

    def epochs(self, max_epochs: int, num_images: int) -> list[int]:
        """Return after how many whole epochs maps are measured, ascending, each below `max_epochs`.

        A share that ends within an epoch counts to its end: 0.1 of 16 epochs is 2. Maps that fall into one epoch are
        measured once.

        Args:
            num_images: size of the training set, > 0.
        """
        # Shares as they are written: 0.1 * 30 is more than 3.
        begin, interval = (value if isinstance(value, int) else Fraction(repr(value)) * max_epochs
                           for value in (self.begin, self.interval))
        first, interval = max(begin, math.ceil(self.min_images / num_images)), max(interval, 1)
        if interval == 1:
            return list(range(math.ceil(first), max_epochs))
        count = max(0, math.floor((max_epochs - 1 - first) / interval) + 1)
        return [math.ceil(first + i * interval) for i in range(count)]


def needed(banks: list[int], checkpoints: list[int]) -> set[int]:
    """Return the epochs of the banks that training would go on with after these checkpoints: the last one not after
    each.
    """
    return {max((bank for bank in banks if bank <= epoch), default=-1) for epoch in checkpoints}


def _counts(value: int | float, least: int) -> bool:
    return type(value) is int and value >= least
