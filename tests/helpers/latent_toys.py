"""Methods with a teacher, as small as they come; drop path makes torch's own generator matter."""
import torch

import pretrain.hooks
import pretrain.methods  # noqa: F401
from mimtransfer.registry import MODELS

ENCODER = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8, pos_embed="sincos",
               drop_path_rate=0.3, model_kwargs=dict(embed_dim=48, depth=2, num_heads=3))
METHODS = {
    "IJEPA": dict(type="IJEPA", encoder=ENCODER, predictor=dict(embed_dim=24, depth=1), momentum=(0.5, 1.0)),
    "Data2Vec2": dict(type="Data2Vec2", encoder=ENCODER, decoder=dict(embed_dim=32, depth=2), top_blocks=2,
                      cls_weight=1.0, masks_per_image=2, momentum=(0.5, 0.9), momentum_end=0.5),
}


def build(name):
    torch.manual_seed(0)
    return MODELS.build(METHODS[name]).train()
