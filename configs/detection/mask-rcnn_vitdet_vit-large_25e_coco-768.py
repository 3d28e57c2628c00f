"""ViTDet Mask R-CNN, ViT-L/16, 25 epochs of COCO at 768 pixels: made for GPUs of 24 GB.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-large.pth
Memory    gradient checkpointing, 4 images a GPU, 2 batches accumulated: 64 images a step at 8 GPUs; not yet measured
Time      not yet run
Score     none published at this size; not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_25e_coco-768.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Mask R-CNN ViT-L, COCO 768, 25 epochs"
model = vitdet_size("vit_large_patch16_224")
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
