"""Linear probe on ADE20K at 512, DINOv3's ViT-B/16: the settings of DINOv3 (arXiv 2508.10104), 40k iterations of 16.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained FILE
File      dinov3_vitb16_pretrain_lvd1689m, from the authors, timm or Hugging Face
Settings  the defaults of the authors' dinov3/eval/segmentation/config.py
Score     in arXiv 2508.10104; not yet run here, no time known
Departs   warm-up of 1500 iterations, then lr falls linearly; the final norm's scale and shift are trained, too
"""
_base_ = "./linear_vit-base_40k_ade20k-512x512.py"

protocol = "Linear probe DINOv3 ViT-B, ADE20K 512, 40k iterations"
model = dict(
    backbone=dict(arch="vit_base_patch16_dinov3"),
    neck=dict(_delete_=True, type="mimtransfer.BatchNormMaps", channels=[768]),
    decode_head=dict(dropout_ratio=0.1),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-2), clip_grad=dict(max_norm=35.0))
