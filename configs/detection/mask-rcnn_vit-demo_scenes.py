"""Mask R-CNN of the demo, on the embedded scenes, minutes on a CPU.

Command   python tools/train.py CONFIG --pretrained work_dirs/demo/mae
Data      python tools/make_scenes.py --out data/scenes
Time      about a minute and a half on one core
Score     docs/results/demo.md
"""
_base_ = [
    "../_base_/model/mask-rcnn_vit-demo.py",
    "../_base_/data/scenes_detection.py",
    "../_base_/schedule/transfer_scenes.py",
    "../_base_/detection_iters_runtime.py",
]
protocol = "Mask R-CNN, scenes"
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=140, max_keep_ckpts=2))
