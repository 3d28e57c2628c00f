"""Linear depth probe on any folder of images with depth maps, of the demo's ViT/16 (1.4 M parameters), 200 iterations.

Command   python tools/train.py CONFIG --pretrained CKPT
Data      data/depth/{images,depth}/{train,test}: images, and for each a map of its name (docs/transfer.md#depth);
          millimetres in 16-bit PNG or metres in .npy, 0 is no depth
Score     depends on the data
"""
_base_ = "./linear_vit-base_nyu.py"
from mimtransfer.training.recipes import iteration_cosine

protocol = "Linear depth probe of 4 blocks, a folder, 200 iterations"
model = dict(
    data_preprocessor=dict(size=(96, 128)),
    backbone=dict(
        img_size=128, out_indices=(1, 2, 3, 5), frozen_stages=6,
        model_kwargs=dict(depth=6, embed_dim=128, num_heads=2),
    ),
    neck=dict(channels=[128] * 4),
    decode_head=dict(in_channels=[128] * 4, max_depth=80.0),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mimtransfer.LoadDepth"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomCrop", crop_size=(96, 128)),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        data_root="data/depth/", pipeline=train_pipeline,
        data_prefix=dict(img_path="images/train", depth_map_path="depth/train"),
    ),
)
val_dataloader = dict(
    dataset=dict(data_root="data/depth/", data_prefix=dict(img_path="images/test", depth_map_path="depth/test")),
)
test_dataloader = val_dataloader
val_evaluator = dict(max_depth_eval=80.0, crop_type=None)
test_evaluator = val_evaluator
train_cfg, param_scheduler = iteration_cosine(iters=200, warmup=20)
default_hooks = dict(checkpoint=dict(interval=200))
