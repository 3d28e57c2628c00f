"""UperNet, ViT-S/16, 160k iterations of ADE20K at 512, as upernet_vit-base: single scale, sliding window.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-small.pth
Time      not yet run here
Score     none published; not yet run here
Sweep     lr and layer decay are searched for each initialisation: configs/suites/ade20k_lr-decay.py
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"
from mimtransfer.training.recipes import upernet_size

protocol = "UperNet ViT-S, ADE20K 512, 160k iterations"
model = upernet_size("vit_small_patch16_224")
