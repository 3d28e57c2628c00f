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
    "../_base_/detection_iters_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

protocol = "Mask R-CNN, scenes"

# 320 x 8 images: six passes over 400 scenes
train_cfg, param_scheduler = iteration_cosine(iters=320, warmup=20)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=160, max_keep_ckpts=1))
