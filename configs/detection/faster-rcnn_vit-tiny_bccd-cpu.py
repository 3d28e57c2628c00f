"""Faster R-CNN, ViT-Ti/16, BCCD at 320 x 240, 120 iterations of 8: the same task within minutes of 2 CPU cores.

Command   python tools/train.py configs/detection/faster-rcnn_vit-tiny_bccd-cpu.py --pretrained work_dirs/CKPT
Data      data/bccd/{train,val,test} and data/bccd/annotations (docs/transfer.md)
Time      minutes on 2 CPU cores; not yet timed alone
Score     docs/results/real-pictures.md
"""
_base_ = "./faster-rcnn_vit-tiny_bccd.py"
protocol = "Faster R-CNN, BCCD, 120 iterations"

image_size = (320, 240)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=image_size, recompute_bbox=True),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
model = dict(
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128)), rpn_proposal=dict(nms_pre=500, max_per_img=300)),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
max_iters = 120
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=20, T_max=max_iters - 20, end=max_iters),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2))
