"""MFM, ViT-S/16, 300 epochs on ImageNet-1K.

Aims at: the setting of the released code (arXiv 2206.07706), which fine-tunes 200 epochs; its README has no figure for
it. Not yet run here.
Command: torchrun --nproc_per_node=8 tools/pretrain.py CONFIG --launcher pytorch --amp --compile
Effective batch: 8 GPUs x 256 = 2048 (released: 16 GPUs x 128), so lr 3e-4 * 2048 / 512 = 1.2e-3.
"""
_base_ = ["mfm_vit-base_300e_in1k.py"]
model = dict(encoder=dict(arch="vit_small_patch16_224"))
