"""Mask R-CNN with a ResNet-50 on the embedded scenes, minutes on a CPU; else as mask-rcnn_vit-demo_scenes.py.

Command   python tools/train.py CONFIG --pretrained work_dirs/mfm_resnet50-demo_scenes
Data      python tools/make_scenes.py --out data/scenes
Time      about 3 minutes on one core
Score     docs/results/mfm.md
"""
_base_ = [
    "../_base_/model/mask-rcnn_resnet50-demo.py",
    "../_base_/data/scenes_detection.py",
    "../_base_/schedule/transfer_scenes.py",
    "../_base_/detection_iters_runtime.py",
]
# Another model is another protocol, with a column of its own in the table.
protocol = "Mask R-CNN ResNet-50, scenes"
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(layer_decay_rate=1.0))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=160, max_keep_ckpts=2))
