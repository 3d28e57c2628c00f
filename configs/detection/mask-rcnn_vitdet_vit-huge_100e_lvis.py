"""ViTDet Mask R-CNN, ViT-H/16, 100 epochs of LVIS v1: federated loss, repeat-factor sampling, 300 detections.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-huge.pth (batch 64)
Time      not yet run here
Score     49.1 box AP, 46.0 mask AP from MAE (authors); 0.3 between seeds (authors); not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_lvis.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Mask R-CNN ViT-H, LVIS, 100 epochs"
model = vitdet_size("vit_huge_patch14_224", drop_path_rate=0.4)
# As on COCO; the lr is ViT-H's own.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4), paramwise_cfg=dict(layer_decay_rate=0.9, norm_decay_mult=1.0, no_decay_names=())
)
