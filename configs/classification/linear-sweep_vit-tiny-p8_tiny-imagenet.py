"""Linear probes on cached features of a ViT-Ti/8, Tiny ImageNet: 7 learning rates x 3 weight decays in one pass.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/tiny-imagenet_frozen.py: 100,000 images to learn from, 10,000 tested
Score     top-1: not yet run; no time known
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/tiny-imagenet_frozen.py",
    "../_base_/classification_runtime.py",
]
from mimtransfer.training.recipes import linear_sweep

protocol = "linear probe, Tiny ImageNet, cached features"
model = dict(backbone=dict(img_size=64, patch_size=8))
test_cfg = linear_sweep(batch_size=1024)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
