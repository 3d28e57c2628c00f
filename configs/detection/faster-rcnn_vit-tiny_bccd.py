"""Faster R-CNN, ViT-Ti/16, simple pyramid, 800 iterations (62 epochs) of BCCD: real pictures, minutes on one GPU.

Command   python tools/train.py configs/detection/faster-rcnn_vit-tiny_bccd.py --pretrained work_dirs/CKPT --amp
Data      data/bccd/{train,val,test} and data/bccd/annotations (docs/transfer.md)
Time      not yet run
Score     box AP on test: not yet run
"""
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/data/bccd.py",
    "../_base_/schedule/transfer_short.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "detection"
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
    neck=dict(
        _delete_=True, type="mimtransfer.SimpleFeaturePyramid", in_channels=192, out_channels=128, num_outs=5,
    ),
    rpn_head=dict(in_channels=128, feat_channels=128),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=512, num_classes=3),
    ),
)
max_iters = 800
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
