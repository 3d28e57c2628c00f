"""Faster R-CNN, ViT-Ti/16, BCCD at 320 x 240, 120 iterations of 8: the same task within minutes of 2 CPU cores.

Command   python tools/train.py CONFIG --pretrained work_dirs/CKPT
Data      data/bccd/{train,val,test} and data/bccd/annotations (docs/transfer.md)
Time      minutes on 2 CPU cores; not yet timed alone
Score     docs/results/real-pictures.md
"""
_base_ = "./faster-rcnn_vit-tiny_bccd.py"
from mimtransfer.training.recipes import box_pipelines, iteration_cosine

protocol = "Faster R-CNN, BCCD, 120 iterations"
train_pipeline, test_pipeline = box_pipelines((320, 240), ratio_range=(0.8, 1.25))
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
train_cfg, param_scheduler = iteration_cosine(iters=120, warmup=20)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=60, max_keep_ckpts=2))
