"""ViTDet Cascade Mask R-CNN, ViT-L/16, 100 epochs of LVIS v1: federated loss, repeat-factor sampling, 300 detections.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-large.pth (batch 64)
Time      not yet run here
Score     49.2 box AP, 44.5 mask AP from MAE (authors); 0.3 between seeds (authors); not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-base_100e_lvis.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Cascade Mask R-CNN ViT-L, LVIS, 100 epochs"
model = vitdet_size("vit_large_patch16_224")
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
