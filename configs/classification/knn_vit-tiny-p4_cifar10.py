"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-Ti/4, CIFAR-10.

Command   python tools/test.py CONFIG --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      on one core of a busy CPU 5 to 9 ms an image, 2 to 3 with --amp; there are 20,000
Score     k-NN top-1: not yet run
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/cifar10_classification.py",
    "../_base_/classification_runtime.py",
]
protocol = "k-NN, CIFAR-10, memory of 10000"
test_cfg = dict(type="KNNLoop", k=20, temperature=0.07)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
