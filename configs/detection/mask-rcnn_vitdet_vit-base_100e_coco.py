"""ViTDet Mask R-CNN, ViT-B/16, 100 epochs of COCO: table 2 of arXiv 2203.16527 and detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mae_vit-base.pth (batch 64)
Time      about 16 h on 64 A100 by the authors' figures (0.314 s per iteration of one image per GPU)
Score     51.6 box AP, 45.9 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
Departs   bf16 instead of fp16
"""
_base_ = [
    "../_base_/model/mask-rcnn_vitdet.py",
    "../_base_/data/coco_lsj-1024.py",
    "../_base_/schedule/vitdet_100e.py",
    "../_base_/detection_iters_runtime.py",
]
protocol = "ViTDet Mask R-CNN, COCO, 100 epochs"
