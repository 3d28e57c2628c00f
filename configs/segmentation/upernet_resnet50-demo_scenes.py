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
    "../_base_/segmentation_runtime.py",
]
from mimtransfer.training.recipes import iteration_cosine

# Another model is another protocol, with a column of its own in the table.
protocol = "UperNet ResNet-50, scenes"

# 320 x 8 images: six passes over 400 scenes
train_cfg, param_scheduler = iteration_cosine(iters=320, warmup=20)
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=160, max_keep_ckpts=1),
)
