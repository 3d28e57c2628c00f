"""Faster R-CNN, ViT-Ti/16, simple pyramid, 800 iterations (62 epochs) of BCCD: real pictures, minutes on one GPU.

Command   python tools/train.py CONFIG --pretrained work_dirs/CKPT --amp
Data      data/bccd/{train,val,test} and data/bccd/annotations (docs/transfer.md)
Score     box AP on test: not yet run; no time known
"""
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/data/bccd.py",
    "../_base_/schedule/transfer_short.py",
    "../_base_/detection_iters_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

protocol = "Faster R-CNN, BCCD, 800 iterations"
model = dict(
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=224,
        pos_embed="sincos",
        out_indices=(-1,),
        drop_path_rate=0.1,
    ),
    neck=dict(_delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=192, out_channels=128, num_outs=5),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128), bbox_head=dict(in_channels=128, fc_out_channels=512, num_classes=3)
    ),
)
train_cfg, param_scheduler = iteration_cosine(iters=800, warmup=50)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=400, max_keep_ckpts=2))
