"""MaPeT, ViT-B/16, 300 epochs on ImageNet-1K with VQ-KD of BEiT v2, stored for the middle of each image.

Aims at: the setting of the released code (arXiv 2306.07346). Not yet run here.
Command: python tools/fit_tokenizer.py configs/tokenizer/vqkd_in1k.py --ids; mapet_vit-base_300e_in1k.py names the
command of the pretraining and what differs.
Effective batch: 8 GPUs x 256 = 2048, at lr 1.5e-3.
"""
_base_ = ["mapet_vit-base_300e_in1k.py"]
model = dict(tokenizer=dict(path="work_dirs/vqkd_in1k/ids"))
