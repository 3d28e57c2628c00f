"""Strategies whose maps the encoder itself measures on the whole training images, every few tens of epochs.

The strategy says what is measured and what a map means; `pretrain/masking/bank.py` stores the maps; a hook
(`pretrain/hooks/map_bank.py`) knows when. AMT sec. 3.2 (Gui et al., AAAI 2023, arXiv 2211.15362).

A method with an EMA teacher needs no bank: with `source='teacher'` it hands over maps of the very crops of the batch,
from the forward pass that makes its targets (`pretrain/methods/teacher.py`).
"""
from abc import abstractmethod

from torch import Tensor

from mimtransfer.backbones.inspect import BlockView
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord, StoredRecord, crop_maps
from pretrain.layout import TokenLayout
from pretrain.masking.bank import MapBank
from pretrain.masking.base import MaskingStrategy


class Measured(MaskingStrategy):
    """Read one map for each training image from a bank; to be put before the class that turns maps into roles.

    Args:
        warmup: config of the strategy that decides until the bank is filled, e.g.
            `dict(type='RandomMasking', mask_ratio=0.75)`; None: this one decides without maps, with its own ratios.
        source: `bank`, or `teacher`: the method's EMA teacher looks at each batch.
        **kwargs: of the next class.

    Raises:
        UserError: another source.

    Attributes:
        bank: maps of the training images; None until there are any. The hook sets it, or whoever draws pictures.
        crop_mode: `bilinear` for maps of weights, `nearest` for labels.
    """

    bank: MapBank | None = None
    crop_mode = "bilinear"

    def __init__(self, *args, warmup: dict | None = None, source: str = "bank", **kwargs):
        super().__init__(*args, **kwargs)
        if source not in ("bank", "teacher"):
            raise UserError(f"{type(self).__name__}: got source={source!r}; expected 'bank' or 'teacher'")
        self.source, self._handed = source, False
        self.warmup = None if warmup is None else MASKINGS.build(warmup)

    @property
    def ready(self) -> bool:
        """Say whether there are maps to draw from."""
        return self._handed if self.source == "teacher" else self.bank is not None

    @abstractmethod
    def measure(self, block: BlockView) -> Tensor:
        """Return the maps of whole images, [B, h, w] float, any scale that half precision holds.

        Args:
            block: what the encoder's last block does with the images, unmasked.
        """

    def __call__(
        self, images: Tensor, record: AugRecord | None, grid: tuple[int, int], generator: SampleGenerator
    ) -> TokenLayout:
        """Draw the layout of a batch; see `MaskingStrategy.__call__`."""
        self._handed = isinstance(record, StoredRecord) and record.maps is not None
        if self.warmup is not None and not self.ready:
            return self.warmup(images, record, grid, generator)
        # the class that this one is put before
        return super().__call__(images, record, grid, generator)  # type: ignore[safe-super]

    def cropped_maps(self, record: AugRecord, grid: tuple[int, int]) -> Tensor:
        """Return the bank's maps under the crops and flips of a batch: [B, h, w] float32."""
        return crop_maps(self.stored_maps(record), record, grid, mode=self.crop_mode)

    def stored_maps(self, record: AugRecord | StoredRecord) -> Tensor:
        """Return the bank's maps of whole images, [B, h, w] float32: those that came with the batch, else they are
        read now, for which the host waits for the device.
        """
        if isinstance(record, StoredRecord) and record.maps is not None:
            return record.maps.float()
        assert self.bank is not None
        return self.bank.read(record.index)

    def look_up(self, index: Tensor) -> Tensor | None:
        """Return the rows of the bank; see `MaskingStrategy.look_up`."""
        return None if self.bank is None or self.source == "teacher" else self.bank.rows(index)

    def picture(self, record: AugRecord, grid: tuple[int, int]) -> tuple[str, Tensor] | None:
        """Return the cropped maps, each scaled to 0..1; see `MaskingStrategy.picture`."""
        if self.source == "teacher" or not self.ready:  # whose maps are gone with their batch
            return None
        maps = self.cropped_maps(record, grid)
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        return "weights" if self.crop_mode == "bilinear" else "parts", (maps - low) / (high - low).clamp_min(1e-12)
