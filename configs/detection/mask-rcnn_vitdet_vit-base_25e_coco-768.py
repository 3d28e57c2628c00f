"""ViTDet Mask R-CNN, ViT-B/16, 25 epochs of COCO at 768 pixels: made for GPUs of 24 GB.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Memory    gradient checkpointing, 4 images a GPU, 2 batches accumulated: 64 images a step at 8 GPUs; not yet measured
Time      not yet run
Score     none published at this size; not yet run here
"""
_base_ = [
    "../_base_/model/mask-rcnn_vitdet.py",
    "../_base_/data/coco_lsj-768.py",
    "../_base_/schedule/vitdet_25e_accumulate.py",
    "../_base_/detection_iters_runtime.py",
]
protocol = "ViTDet Mask R-CNN, COCO 768, 25 epochs"
model = dict(data_preprocessor=dict(pad_size_divisor=768), backbone=dict(rel_pos_size=768, grad_checkpointing=True))
