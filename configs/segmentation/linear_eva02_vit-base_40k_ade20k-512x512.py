"""Linear probe on ADE20K at 512, EVA-02-B: as linear_vit-base_40k_ade20k-512x512.py.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained eva02_B_pt_in21k_p14to16.pt
Score     none published under this protocol, nor the time; not yet run here
"""
_base_ = "./linear_vit-base_40k_ade20k-512x512.py"

protocol = "Linear probe EVA-02 ViT-B, ADE20K 512, 40k iterations"
model = dict(backbone=dict(arch="eva02_base_patch14_224", patch_size=16))
