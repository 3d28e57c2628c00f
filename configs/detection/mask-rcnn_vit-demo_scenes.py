"""Demo: Mask R-CNN on the embedded scenes, minutes on a CPU.

Command   python tools/train.py configs/detection/mask-rcnn_vit-demo_scenes.py --pretrained work_dirs/demo/mae
Data      python tools/make_scenes.py --out data/scenes
Time      about a minute and a half on one core
Score     docs/results/demo.md
"""
_base_ = [
    "../_base_/model/mask-rcnn_vit-demo.py",
    "../_base_/data/scenes_detection.py",
    "../_base_/schedule/transfer_short.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "detection"
protocol = "Mask R-CNN, scenes"

# 320 x 8 images: six passes over 400 scenes
max_iters = 320
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=20, T_max=max_iters - 20, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
