"""AMT: what the class token attends to is masked first, what follows is thrown (Gui et al., "Good Helper Is around You:
Attention-Driven Masked Image Modeling", AAAI 2023, arXiv 2211.15362v2).

Departures from the authors' code: maps follow the crop (see `pretrain/legacy_crop.py`); they stay at the resolution of
the patches; patches of weight 0 can be drawn, last; any number of heads, patches and images.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.backbones.probe import Probe
from mimtransfer.registry import MASKINGS
from pretrain.legacy_crop import crop_maps_legacy
from pretrain.masking.base import WeightedMasking
from pretrain.masking.measured import Measured
from pretrain.record import AugRecord


@MASKINGS.register_module()
class AMTMasking(Measured, WeightedMasking):
    """Draw patches in proportion to the attention of the class token; without maps all are alike.

    The least attended patch of all heads has weight 0: it is drawn last.

    Args:
        mask_ratio: see `MaskingStrategy`; the authors mask 0.45 and throw 0.40, or mask 0.75 and throw nothing.
        throw: see `WeightedMasking`.
        legacy_crop: weigh by the top left corner of the map whatever was cropped, as the released code does.
        warmup: see `Measured`; the authors train 40 epochs with `dict(type='RandomMasking', mask_ratio=0.75)`.
    """

    def __init__(
        self,
        mask_ratio: float = 0.45,
        throw_ratio: float = 0.40,
        unit: int = 1,
        throw: str = "middle",
        legacy_crop: bool = False,
        warmup: dict | None = None,
    ):
        super().__init__(mask_ratio, throw_ratio, unit, throw=throw, warmup=warmup)
        self.legacy_crop = legacy_crop

    def measure(self, probe: Probe) -> Tensor:
        """Return the attention of the class token to the patches, [B, h, w] in [0, 1]: each head scaled to 0..1, then
        the mean of the heads. A head that attends to all alike counts 0.
        """
        attention = probe.class_attention  # [B, K, L]
        attention = attention - attention.amin(-1, keepdim=True)
        largest = attention.amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (attention / largest).mean(1).unflatten(1, probe.grid)

    def cropped_maps(self, record: AugRecord, grid: tuple[int, int]) -> Tensor:
        """Return the weights of the patches, [B, h, w] float32; see `Measured.cropped_maps`."""
        if self.legacy_crop:
            return crop_maps_legacy(self.bank.read(record.index), record, grid)
        return super().cropped_maps(record, grid)

    def weights(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int]) -> Tensor:
        """Return the mean over the patches of each cell; see `WeightedMasking.weights`."""
        if not self.ready:
            return torch.ones(len(images), cells[0] * cells[1], device=images.device)
        patches = self.cropped_maps(record, (cells[0] * self.unit, cells[1] * self.unit))
        return F.avg_pool2d(patches, self.unit).flatten(1)
