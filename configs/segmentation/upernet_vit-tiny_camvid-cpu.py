"""UperNet, ViT-Ti/16, CamVid in crops of 224, 120 iterations of 8: the same task within minutes of 2 CPU cores.

Command   python tools/train.py CONFIG --pretrained work_dirs/CKPT
Data      data/camvid/{images,annotations}/{train,val,test} (docs/transfer.md)
Time      minutes on 2 CPU cores; not yet timed alone
Score     docs/results/real-pictures.md
"""
_base_ = "./upernet_vit-tiny_camvid.py"
from mimtransfer.training.recipes import iteration_cosine

protocol = "UperNet, CamVid, 120 iterations"
crop_size = (224, 224)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(400, 300), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(400, 300), keep_ratio=True),
    # After the resize, so that the labels keep their own size and the prediction is brought to it.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
model = dict(data_preprocessor=dict(size=crop_size), decode_head=dict(channels=64), auxiliary_head=dict(channels=64))
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg, param_scheduler = iteration_cosine(iters=120, warmup=20)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=60, max_keep_ckpts=2))
