"""Mask R-CNN as MAE was transferred before ViTDet (arXiv 2111.11429), ViT-B/16, 50 epochs of COCO.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      not yet run here
Score     50.1 box AP, 44.6 mask AP from MAE (authors, github.com/facebookresearch/mae issue 43); not yet run here
Departs   as its base; MIMDet's configs give 50.2 and 44.9
"""
_base_ = "./mask-rcnn_mae_vit-base_100e_coco.py"
from mimtransfer.training.recipes import mae_detection_schedule

protocol = "Mask R-CNN as MAE, COCO, 50 epochs"
train_cfg, param_scheduler = mae_detection_schedule(epochs=50)
