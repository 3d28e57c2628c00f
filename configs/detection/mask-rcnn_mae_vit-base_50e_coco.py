"""Mask R-CNN as MAE was transferred before ViTDet (arXiv 2111.11429), ViT-B/16, 50 epochs of COCO.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/mask-rcnn_mae_vit-base_50e_coco.py \
              --launcher pytorch --pretrained mae_vit-base.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      not yet run here
Score     50.1 box AP, 44.6 mask AP from MAE (authors, github.com/facebookresearch/mae issue 43); not yet run here
Departs   the authors' code is not published: lr, weight decay, windows of 16, schedule follow MIMDet's configs,
          which give 50.2 and 44.9; no layer decay
"""
_base_ = "./mask-rcnn_mae_vit-base_100e_coco.py"
protocol = "Mask R-CNN as MAE, COCO, 50 epochs"

max_iters = 92188
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(80001, max_iters)])
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=461),  # a quarter of an epoch
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=461, T_max=max_iters - 461, end=max_iters),
]
