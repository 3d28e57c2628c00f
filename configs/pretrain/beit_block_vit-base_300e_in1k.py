"""BEiT, ViT-B/16, 300 epochs on ImageNet-1K with k-CLIP: MaPeT's baseline of masked prediction, 75 of 196 patches.

Aims at: BEiT under MaPeT's setting (arXiv 2306.07346), that of mapet_vit-base_300e_in1k.py, which names the command.
Not yet run here.
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
"""
_base_ = ["mapet_vit-base_300e_in1k.py"]
model = dict(type="BEiT", strategy=dict(_delete_=True, type="BlockMasking", mask_ratio=75 / 196))
