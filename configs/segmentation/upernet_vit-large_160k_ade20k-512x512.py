"""UperNet, ViT-L/16, 160k iterations of ADE20K at 512, as upernet_vit-base: single scale, sliding window.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-large.pth
Time      not yet run here
Score     53.6 mIoU from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
Sweep     lr and layer decay are searched for each initialisation: configs/suites/ade20k_lr-decay.py
"""
_base_ = "./upernet_vit-base_160k_ade20k-512x512.py"
protocol = "UperNet ViT-L, ADE20K 512, 160k iterations"

model = dict(
    backbone=dict(arch="vit_large_patch16_224", out_indices=(7, 11, 15, 23), drop_path_rate=0.2),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
