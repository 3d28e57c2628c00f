"""Frozen features of a ViT-Ti/4 at 32 pixels, the mean of the patch tokens."""
_base_ = "./frozen_vit-base.py"
model = dict(backbone=dict(arch="vit_tiny_patch16_224", img_size=32, patch_size=4))
