"""Linear probe on ADE20K at 512, RoPE-ViT-B/16: as linear_vit-base_40k_ade20k-512x512.py.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained CKPT
File      work_dirs/mae_rope-vit-base_800e_in1k, or a RoPE-Axial ViT-B of arXiv 2403.13298
Score     none published under this protocol, nor the time; not yet run here
"""
_base_ = "./linear_vit-base_40k_ade20k-512x512.py"

protocol = "Linear probe RoPE-ViT-B, ADE20K 512, 40k iterations"
model = dict(backbone=dict(arch="vit_base_patch16_rope_224"))
