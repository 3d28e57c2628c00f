"""A tokenizer without a file: the code of a patch is its mean brightness."""
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.registry import TOKENIZERS
from pretrain.tokenizers.base import Tokenizer


@TOKENIZERS.register_module()
class BrightnessTokenizer(Tokenizer):
    """Cut [0, 1] into `num_codes` equal bins; `pictures` says whether codes can be decoded, to grey."""

    def __init__(self, num_codes: int = 16, patch_size: int = 8, pictures: bool = True):
        super().__init__(num_codes, dict(sha256="0" * 64, source="brightness"))
        self.patch_size, self.pictures = patch_size, pictures

    def encode(self, images: Tensor, record=None) -> Tensor:
        brightness = F.avg_pool2d(images.mean(1, keepdim=True), self.patch_size)[:, 0]
        return (brightness * self.num_codes).long().clamp_max(self.num_codes - 1)

    def decode(self, ids: Tensor) -> Tensor | None:
        return ((ids + 0.5) / self.num_codes)[:, None].expand(-1, 3, -1, -1) if self.pictures else None
