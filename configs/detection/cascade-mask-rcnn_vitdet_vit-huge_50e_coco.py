"""ViTDet Cascade Mask R-CNN, ViT-H/16, 50 epochs of COCO, the recipe of the published schedule shortened.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/cascade-mask-rcnn_vitdet_vit-huge_50e_coco.py \
              --launcher pytorch --pretrained mae_vit-huge.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      about 29 h on 64 A100 by the authors' 1.137 s per iteration
Score     none published; not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-huge_75e_coco.py"
protocol = "ViTDet Cascade Mask R-CNN ViT-H, COCO, 50 epochs"

max_iters = 92188
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(80001, max_iters)])
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", milestones=[81944, 88773], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
