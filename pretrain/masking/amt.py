"""AMT: what the class token attends to is masked first, then thrown, the rest is shown.

Gui et al., "Good Helper Is Around You: Attention-Driven Masked Image Modeling", AAAI 2023, arXiv 2211.15362 (v1, v2),
sec. 3. Where the text and the released code (guijiejie/AMT) differ: the text throws the patches of lowest weight, the
code the middle of the drawing order; `throw` offers both. Departures from the code: maps are cropped where the image
is cropped (the code takes their top left corner, see `pretrain/legacy_crop.py`); weights of zero are drawn last
instead of stopping the run; the maps stay as large as the patch grid.
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
    """Draw patches in proportion to the attention that the class token of the last block pays them.

    `throw_ratio=0` is attention-driven masking without throwing. Without maps, all patches are alike.

    Args:
        mask_ratio: see `MaskingStrategy`; the paper masks .45 and throws .40, without throwing it masks .75.
        legacy_crop: crop the maps as the released code does.
        **kwargs: `throw_ratio`, `unit` and `throw` of `WeightedMasking`, `warmup` of `Measured`.
    """

    def __init__(self, mask_ratio: float = 0.45, legacy_crop: bool = False, **kwargs):
        super().__init__(mask_ratio=mask_ratio, **kwargs)
        self.legacy_crop = legacy_crop

    def measure(self, probe: Probe) -> Tensor:
        """Return the attention of the class token, scaled from 0 to 1 in each head, mean over heads: [B, h, w]."""
        attention = probe.class_attention  # [B, K, L]
        above = attention - attention.amin(-1, keepdim=True)
        # A head that attends to all patches alike says nothing: 0, where the released code divides by zero.
        scaled = above / above.amax(-1, keepdim=True).clamp_min(torch.finfo(above.dtype).tiny)
        return scaled.mean(1).unflatten(1, probe.grid)

    def weights(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int]) -> Tensor:
        """Return the maps under the crops, cells being the mean of their patches; see `WeightedMasking.weights`."""
        if not self.ready:
            return torch.ones(len(images), cells[0] * cells[1], device=images.device)
        grid = (cells[0] * self.unit, cells[1] * self.unit)
        return F.avg_pool2d(self.cropped_maps(record, grid)[:, None], self.unit).flatten(1)

    def cropped_maps(self, record: AugRecord, grid: tuple[int, int]) -> Tensor:
        """Return the bank's maps under the crops and flips of a batch: [B, h, w] float32."""
        if self.legacy_crop:
            return crop_maps_legacy(self.bank.read(record.index), record, grid)
        return super().cropped_maps(record, grid)
