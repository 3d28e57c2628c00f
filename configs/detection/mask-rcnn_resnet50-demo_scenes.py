"""Mask R-CNN with a ResNet-50 on the embedded scenes, minutes on a CPU; else as mask-rcnn_vit-demo_scenes.py.

Command   python tools/train.py configs/detection/mask-rcnn_resnet50-demo_scenes.py \
              --pretrained work_dirs/mfm_resnet50-demo_scenes
Data      python tools/make_scenes.py --out data/scenes
Time      about 3 minutes on one core
Score     docs/results/mfm.md
"""
_base_ = [
    "../_base_/model/mask-rcnn_resnet50-demo.py",
    "../_base_/data/scenes_detection.py",
    "../_base_/schedule/transfer_short.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "detection"
# Another model is another protocol, with a column of its own in the table.
protocol = "Mask R-CNN ResNet-50, scenes"

# 320 x 8 images: six passes over 400 scenes
max_iters = 320
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=20, T_max=max_iters - 20, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
