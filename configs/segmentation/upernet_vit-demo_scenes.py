"""UperNet of the demo, on the embedded scenes, minutes on a CPU.

Command   python tools/train.py CONFIG --pretrained work_dirs/demo/mae
Data      python tools/make_scenes.py --out data/scenes
Time      about a minute and a half on one core
Score     docs/results/demo.md
"""
_base_ = [
    "../_base_/model/upernet_vit-demo.py",
    "../_base_/data/scenes_segmentation.py",
    "../_base_/schedule/transfer_scenes.py",
    "../_base_/segmentation_runtime.py",
]
protocol = "UperNet, scenes"
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=140, max_keep_ckpts=2),
)
