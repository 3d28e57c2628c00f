"""Linear probes on cached features of a ViT-B/16, CIFAR-10 at 224 pixels: 7 learning rates x 3 weight decays in one
pass.

For encoders pretrained on ImageNet-1K: each image is shown whole, enlarged to the size they know.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/cifar10_frozen-224.py: 50,000 images to learn from, 10,000 tested
Score     top-1: not yet run; no time known
"""
_base_ = [
    "../_base_/model/frozen_vit-base.py",
    "../_base_/data/cifar10_frozen-224.py",
    "../_base_/classification_runtime.py",
]
from mimtransfer.training.recipes import linear_sweep

protocol = "linear probe, CIFAR-10 at 224 pixels, cached features"
test_cfg = linear_sweep(batch_size=512)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
