"""Permuted prediction as in XLNet, the baseline of MaPeT without auxiliary positions: ViT-B/16, 300 epochs, k-CLIP.

Aims at: MaPeT's ablation (arXiv 2306.07346), in the setting of mapet_vit-base_300e_in1k.py, which names the command.
Not yet run here.
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
"""
_base_ = ["mapet_vit-base_300e_in1k.py"]
model = dict(auxiliary=False)
custom_hooks = [*_base_.custom_hooks[:-1], dict(type="RecordHook", label="MaPeT, permuted only")]
