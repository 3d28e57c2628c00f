"""UperNet, ViT-Ti/16, 1200 iterations (52 epochs) of CamVid: real pictures on one GPU in minutes.

Command   python tools/train.py configs/segmentation/upernet_vit-tiny_camvid.py --pretrained work_dirs/CKPT --amp
Data      data/camvid/{images,annotations}/{train,val,test} (docs/transfer.md)
Time      not yet run
Score     mIoU on test: not yet run
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "../_base_/data/camvid.py",
    "../_base_/schedule/transfer_short.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "segmentation"
protocol = "UperNet, CamVid, 1200 iterations"

crop_size = (320, 320)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch="vit_tiny_patch16_224", img_size=224, pos_embed="sincos", rel_pos=None, layer_scale=None,
    ),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192, 192, 192, 192], channels=192, num_classes=11),
    auxiliary_head=dict(in_channels=192, channels=96, num_classes=11),
)
max_iters = 1200
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, T_max=max_iters - 50, end=max_iters),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
