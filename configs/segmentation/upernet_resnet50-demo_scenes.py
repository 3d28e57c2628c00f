"""UperNet with a ResNet-50 on the embedded scenes, minutes on a CPU; else as upernet_vit-demo_scenes.py.

Command   python tools/train.py configs/segmentation/upernet_resnet50-demo_scenes.py \
              --pretrained work_dirs/mfm_resnet50-demo_scenes
Data      python tools/make_scenes.py --out data/scenes
Time      about 3 minutes on one core
Score     docs/results/mfm.md
"""
_base_ = [
    "../_base_/model/upernet_resnet50-demo.py",
    "../_base_/data/scenes_segmentation.py",
    "../_base_/schedule/transfer_short.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/transfer_runtime.py",
]
task = "segmentation"
# Another model is another protocol, with a column of its own in the table.
protocol = "UperNet ResNet-50, scenes"

# 320 x 8 images: six passes over 400 scenes
max_iters = 320
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=20, T_max=max_iters - 20, end=max_iters),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters // 2, max_keep_ckpts=2),
)
