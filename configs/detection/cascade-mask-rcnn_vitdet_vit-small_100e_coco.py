"""ViTDet Cascade Mask R-CNN, ViT-S/16, 100 epochs of COCO: the recipe of ViT-B.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-small.pth (batch 64)
Score     none published, nor the time; not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-base_100e_coco.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Cascade Mask R-CNN ViT-S, COCO, 100 epochs"
model = vitdet_size("vit_small_patch16_224")
