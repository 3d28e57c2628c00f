"""UperNet, ViT-Ti/16, 1200 iterations (52 epochs) of CamVid: real pictures on one GPU in minutes.

Command   python tools/train.py CONFIG --pretrained work_dirs/CKPT --amp
Data      data/camvid/{images,annotations}/{train,val,test} (docs/transfer.md)
Score     mIoU on test: not yet run; no time known
"""
_base_ = [
    "../_base_/model/upernet_vit.py",
    "../_base_/data/camvid.py",
    "../_base_/schedule/transfer_short.py",
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

protocol = "UperNet, CamVid, 1200 iterations"
crop_size = (320, 320)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(arch="vit_tiny_patch16_224", img_size=224, pos_embed="sincos", rel_pos=None, layer_scale=None),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192, 192, 192, 192], channels=192, num_classes=11),
    auxiliary_head=dict(in_channels=192, channels=96, num_classes=11),
)
train_cfg, param_scheduler = iteration_cosine(iters=1200, warmup=50)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=600, max_keep_ckpts=2),
)
