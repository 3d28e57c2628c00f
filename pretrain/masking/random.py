"""Random masking: all patches alike (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv
2111.06377, sec. 3).
"""
import torch
from torch import Tensor

from mimtransfer.registry import MASKINGS
from pretrain.aug_record import AugRecord
from pretrain.masking.base import WeightedMasking


@MASKINGS.register_module()
class RandomMasking(WeightedMasking):
    """Mask patches at random without replacement; `unit=2` gives SimMIM's 32-pixel cells, `throw_ratio` throws at
    random.

    Args:
        mask_ratio: see `MaskingStrategy`; MAE masks 3 of 4 patches.
    """

    def __init__(self, mask_ratio: float = 0.75, throw_ratio: float = 0.0, unit: int = 1):
        super().__init__(mask_ratio, throw_ratio, unit)

    def weights(self, images: Tensor, record: AugRecord | None, cells: tuple[int, int]) -> Tensor:
        """Return equal weights; see `WeightedMasking.weights`."""
        return torch.ones(len(images), cells[0] * cells[1], device=images.device)
