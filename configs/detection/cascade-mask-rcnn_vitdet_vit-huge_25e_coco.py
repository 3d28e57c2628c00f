"""ViTDet Cascade Mask R-CNN, ViT-H/16, 25 epochs of COCO, the recipe of the published schedule shortened.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-huge.pth (batch 64)
Time      about 15 h on 64 A100 by the authors' 1.137 s per iteration
Score     none published; not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-huge_75e_coco.py"
from mimtransfer.training.recipes import vitdet_schedule

protocol = "ViTDet Cascade Mask R-CNN ViT-H, COCO, 25 epochs"
train_cfg, param_scheduler = vitdet_schedule(epochs=25)
