"""MaPeT, ViT-Ti/16, 300 epochs on ImageNet-1K with k-CLIP.

Aims at: the setting of the released code (arXiv 2306.07346). Not yet run here.
mapet_vit-base_300e_in1k.py names the command and what differs from the released code.
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
Published fine-tuning: 300 epochs at lr 2.5e-4 for 512 images, no layer-wise decay, mean of patches, drop path 0.1.
"""
_base_ = ["mapet_vit-base_300e_in1k.py"]
model = dict(encoder=dict(arch="vit_tiny_patch16_224"))
