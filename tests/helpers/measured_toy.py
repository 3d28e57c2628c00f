"""Strategies that measure the least that can be measured, for tests of the bank and its hook."""
from mimtransfer.registry import MASKINGS
from pretrain.masking.base import WeightedMasking
from pretrain.masking.measured import Measured


@MASKINGS.register_module()
class KeyNormMasking(Measured, WeightedMasking):
    """Weigh patches by the norm of their keys; needs no class token."""

    def measure(self, block):
        return block.keys.norm(dim=-1).unflatten(1, block.grid)

    def weights(self, images, record, cells):
        if not self.ready:
            return images.new_ones(len(images), cells[0] * cells[1])
        return self.cropped_maps(record, cells).flatten(1)


@MASKINGS.register_module()
class ClassAttentionMasking(KeyNormMasking):
    """Weigh patches by the attention of the class token."""

    def measure(self, block):
        return block.class_attention.mean(1).unflatten(1, block.grid)
