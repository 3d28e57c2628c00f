"""UperNet, ViT-L/16, 160k iterations of ADE20K at 512, as upernet_vit-base: single scale, sliding window.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-large.pth
Time      not yet run here
Score     53.6 mIoU from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
Sweep     lr and layer decay are searched for each initialisation: configs/suites/ade20k_lr-decay.py
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"
from mimtransfer.training.recipes import upernet_size

protocol = "UperNet ViT-L, ADE20K 512, 160k iterations"
model = upernet_size("vit_large_patch16_224")
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
