"""ViTDet Mask R-CNN, ViT-B/16, 50 epochs of COCO, the recipe of the published schedule shortened.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      about 8 h on 64 A100 by the authors' 0.314 s per iteration
Score     none published; not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"
from mimtransfer.training.recipes import vitdet_schedule

protocol = "ViTDet Mask R-CNN, COCO, 50 epochs"
train_cfg, param_scheduler = vitdet_schedule(epochs=50)
