"""UperNet on RoPE-ViT-B/16, 160k iterations of ADE20K at 512: the recipe of the plain ViT-B (arXiv 2111.06377).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained CKPT
File      work_dirs/mae_rope-vit-base_800e_in1k, or a RoPE-Axial ViT-B of arXiv 2403.13298
Score     none published for this recipe, nor the time; not yet run here
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"

protocol = "UperNet RoPE-ViT-B, ADE20K 512, 160k iterations"
model = dict(backbone=dict(arch="vit_base_patch16_rope_224", rel_pos=None, layer_scale=None))
