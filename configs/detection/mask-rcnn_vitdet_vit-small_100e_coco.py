"""ViTDet Mask R-CNN, ViT-S/16, 100 epochs of COCO: the recipe of ViT-B.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/mask-rcnn_vitdet_vit-small_100e_coco.py \
              --launcher pytorch --pretrained mae_vit-small.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      none published
Score     none published; not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_coco.py"
protocol = "ViTDet Mask R-CNN ViT-S, COCO, 100 epochs"

model = dict(
    backbone=dict(
        arch="vit_small_patch16_224",
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=384),
)
