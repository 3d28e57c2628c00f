"""ViTDet Mask R-CNN, ViT-L/16, 100 epochs of LVIS v1: federated loss, repeat-factor sampling, 300 detections.

Command   torchrun --nproc_per_node=8 tools/train.py configs/detection/mask-rcnn_vitdet_vit-large_100e_lvis.py \
              --launcher pytorch --pretrained mae_vit-large.pth \
              --cfg-options train_dataloader.batch_size=8
Data      data/lvis_v1/annotations/lvis_v1_{train,val}.json beside COCO's train2017 and val2017; pip install lvis
Time      not yet run here
Score     46.1 box AP, 43.6 mask AP from MAE (authors); 0.3 between seeds (authors); not yet run here
"""
_base_ = "./mask-rcnn_vitdet_vit-base_100e_lvis.py"
protocol = "ViTDet Mask R-CNN ViT-L, LVIS, 100 epochs"

model = dict(
    backbone=dict(
        arch="vit_large_patch16_224",
        global_blocks=(5, 11, 17, 23),
        drop_path_rate=0.4,
    ),
    neck=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
