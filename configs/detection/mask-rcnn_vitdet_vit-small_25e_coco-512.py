"""ViTDet Mask R-CNN, ViT-S/16, 25 epochs of COCO at 512 pixels: made for GPUs of 24 GB.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-small.pth
Memory    gradient checkpointing, 4 images a GPU, 2 batches accumulated: 64 images a step at 8 GPUs; not yet measured
Time      not yet run
Score     none published at this size; not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_25e_coco-512.py"
from mimtransfer.training.recipes import vitdet_size

protocol = "ViTDet Mask R-CNN ViT-S, COCO 512, 25 epochs"
model = vitdet_size("vit_small_patch16_224")
