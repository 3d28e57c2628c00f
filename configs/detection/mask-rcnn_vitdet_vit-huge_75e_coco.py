"""ViTDet Mask R-CNN, ViT-H/16, 75 epochs of COCO: detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-huge.pth (batch 64)
Time      about 42 h on 64 A100 by the authors' 1.098 s per iteration
Score     56.7 box AP, 50.2 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
Start     a checkpoint of patch 14 is resampled to 16 at loading, as the authors' mae_pretrain_vit_huge_p14to16
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"
from mimtransfer.training.recipes import vitdet_schedule, vitdet_size

protocol = "ViTDet Mask R-CNN ViT-H, COCO, 75 epochs"
model = vitdet_size("vit_huge_patch14_224")
# Norms and the position embedding are decayed too, by the authors for ViT-H alone.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9, norm_decay_mult=1.0, no_decay_names=()))
train_cfg, param_scheduler = vitdet_schedule(epochs=75)
