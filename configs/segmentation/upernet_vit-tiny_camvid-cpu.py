"""UperNet, ViT-Ti/16, CamVid in crops of 224, 120 iterations of 8: the same task within minutes of 2 CPU cores.

Command   python tools/train.py configs/segmentation/upernet_vit-tiny_camvid-cpu.py --pretrained work_dirs/CKPT
Data      data/camvid/{images,annotations}/{train,val,test} (docs/transfer.md)
Time      minutes on 2 CPU cores; not yet timed alone
Score     docs/results/real-pictures.md
"""
_base_ = "./upernet_vit-tiny_camvid.py"
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
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(channels=64),
    auxiliary_head=dict(channels=64),
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
default_hooks = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2))
