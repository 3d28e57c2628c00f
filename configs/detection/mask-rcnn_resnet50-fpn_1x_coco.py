"""Mask R-CNN, ResNet-50 and FPN, 12 epochs of COCO, as self-supervised ResNets are compared (MoCo, arXiv 1911.05722).

Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --pretrained mfm_resnet50.pth
Data      data/coco: annotations/instances_{train,val}2017.json, train2017, val2017 (docs/transfer.md)
Time      not yet run here
Score     supervised, frozen batch statistics: 38.2 box AP, 34.7 mask AP (mmdet); none published for MFM; not yet run
Differs   from mmdet's config, which is for supervised weights: nothing is frozen, batch statistics are trained and
          synchronised, also in the FPN. For mmdet's: model.backbone.frozen_stages=1 model.backbone.norm_eval=True
"""
_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "../_base_/detection_runtime.py",
]
protocol = "Mask R-CNN ResNet-50 FPN, COCO, 12 epochs"
model = dict(
    backbone=dict(_delete_=True, type="mimtransfer.TimmCNN", arch="resnet50", out_indices=(0, 1, 2, 3)),
    neck=dict(norm_cfg=dict(type="BN", requires_grad=True)),
)
auto_scale_lr = dict(enable=True, base_batch_size=16)
auto_scale_iters = True
