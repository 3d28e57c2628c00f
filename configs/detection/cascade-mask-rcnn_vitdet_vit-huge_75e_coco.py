"""ViTDet Cascade Mask R-CNN, ViT-H/16, 75 epochs of COCO: detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/cascade-mask-rcnn_vitdet_vit-huge_75e_coco.py \
              --launcher pytorch --pretrained mae_vit-huge.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      about 44 h on 64 A100 by the authors' 1.137 s per iteration
Score     58.7 box AP, 51.0 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
Start     a checkpoint of patch 14 is resampled to 16 at loading, as the authors' mae_pretrain_vit_huge_p14to16
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-base_100e_coco.py"
protocol = "ViTDet Cascade Mask R-CNN ViT-H, COCO, 75 epochs"

model = dict(
    backbone=dict(
        arch="vit_huge_patch14_224",
        patch_size=16,
        global_blocks=(7, 15, 23, 31),
        drop_path_rate=0.5,
    ),
    neck=dict(in_channels=1280),
)
# Norms and the position embedding are decayed too, by the authors for ViT-H alone.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9, norm_decay_mult=1.0, no_decay_names=()))

max_iters = 138281
train_cfg = dict(max_iters=max_iters, dynamic_intervals=[(120001, max_iters)])
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type="MultiStepLR", milestones=[122916, 133159], gamma=0.1, by_epoch=False, begin=0, end=max_iters),
]
