"""Linear probes on cached features of a ViT-Ti/4, CIFAR-10: 7 learning rates x 3 weight decays in one pass.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      as k-NN, and the training of the probes
Score     top-1: not yet run
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/cifar10_classification.py",
    "../_base_/classification_runtime.py",
]
from mimtransfer.training.recipes import linear_sweep

protocol = "linear probe, CIFAR-10, cached features of 10000"
test_cfg = linear_sweep(batch_size=512)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5))
