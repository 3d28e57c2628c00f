"""ViTDet Cascade Mask R-CNN, ViT-L/16, 100 epochs of COCO: detectron2's ViTDet README.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/cascade-mask-rcnn_vitdet_vit-large_100e_coco.py \
              --launcher pytorch --pretrained mae_vit-large.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      about 33 h on 64 A100 by the authors' 0.643 s per iteration
Score     57.6 box AP, 50.0 mask AP from MAE, 1600 epochs of ImageNet-1k (authors); not yet run here
"""
_base_ = "./cascade-mask-rcnn_vitdet_vit-base_100e_coco.py"
protocol = "ViTDet Cascade Mask R-CNN ViT-L, COCO, 100 epochs"

model = dict(
    backbone=dict(
        arch="vit_large_patch16_224",
        global_blocks=(5, 11, 17, 23),
        drop_path_rate=0.4,
    ),
    neck=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
