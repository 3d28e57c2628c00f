"""ViTDet Cascade Mask R-CNN, ViT-L/16, 100 epochs of COCO: detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-large.pth (batch 64)
Time      about 33 h on 64 A100 by the authors' 0.643 s per iteration
Score     57.6 box AP, 50.0 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-base_100e_coco.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Cascade Mask R-CNN ViT-L, COCO, 100 epochs"
model = vitdet_size("vit_large_patch16_224")
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
