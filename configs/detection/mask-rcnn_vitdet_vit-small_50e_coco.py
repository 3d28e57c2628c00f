"""ViTDet Mask R-CNN, ViT-S/16, 50 epochs of COCO: the recipe of ViT-B.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-small.pth (batch 64)
Score     none published, nor the time; not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-small_100e_coco.py"
from mimtransfer.training.recipes import vitdet_schedule

protocol = "ViTDet Mask R-CNN ViT-S, COCO, 50 epochs"
train_cfg, param_scheduler = vitdet_schedule(epochs=50)
