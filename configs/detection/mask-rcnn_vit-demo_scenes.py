"""Demo: Mask R-CNN on the embedded scenes, minutes on a CPU.

Command   python tools/train.py configs/detection/mask-rcnn_vit-demo_scenes.py --pretrained work_dirs/demo/mae
Data      python tools/make_scenes.py --out data/scenes
Time      not yet run
Score     not yet run
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

max_iters = 80
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=10, T_max=max_iters - 10, end=max_iters),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
