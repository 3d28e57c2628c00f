"""How the official codes of SimMIM and MFM, which both build on BEiT's, initialise a plain ViT."""
import math

import torch
from torch import nn


@torch.no_grad()
def init_plain_vit(encoder: nn.Module) -> None:
    """Initialise a `TimmViT`: weights, tokens and positions normal with 0.02, cut off at one deviation; biases at 0."""
    for name, parameter in encoder.named_parameters():
        if parameter.dim() > 1 and parameter.requires_grad:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.02, b=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    # The deeper a block, the less its branches add at first.
    for i, block in enumerate(encoder.blocks, start=1):
        block.attn.proj.weight.div_(math.sqrt(2 * i))
        block.mlp.fc2.weight.div_(math.sqrt(2 * i))
