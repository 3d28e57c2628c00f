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
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

protocol = "UperNet, scenes"

# 320 x 8 images: six passes over 400 scenes
train_cfg, param_scheduler = iteration_cosine(iters=320, warmup=20)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=160, max_keep_ckpts=1),
)
