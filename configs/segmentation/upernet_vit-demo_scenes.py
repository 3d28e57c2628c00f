"""Demo: UperNet on the embedded scenes, minutes on a CPU.

Command   python tools/train.py configs/segmentation/upernet_vit-demo_scenes.py --pretrained work_dirs/demo/mae
Data      python tools/make_scenes.py --out data/scenes
Time      about a minute and a half on one core
Score     docs/results/demo.md
"""
_base_ = [
    "../_base_/model/upernet_vit-demo.py",
    "../_base_/data/scenes_segmentation.py",
    "../_base_/schedule/transfer_short.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "segmentation"
protocol = "UperNet, scenes"

# 320 x 8 images: six passes over 400 scenes
max_iters = 320
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=20, T_max=max_iters - 20, end=max_iters),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
