"""Linear probes on cached features of a ViT-Ti/4, CIFAR-10: 7 learning rates x 3 weight decays in one pass.

As linear-sweep_vit-tiny-p4_cifar10.py, with all training images from the published binaries, not 10,000.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/cifar10_frozen.py: 50,000 images to learn from, 10,000 tested
Score     top-1: not yet run; no time known
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/cifar10_frozen.py",
    "../_base_/classification_runtime.py",
]
from mimtransfer.training.recipes import linear_sweep

protocol = "linear probe, CIFAR-10, cached features"
test_cfg = linear_sweep(batch_size=512)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
