"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-Ti/4, CIFAR-100.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/cifar100_frozen.py: 50,000 images as the memory, 10,000 tested
Score     k-NN top-1: not yet run; no time known
"""
_base_ = [
    "../_base_/model/frozen_vit-tiny-p4.py",
    "../_base_/data/cifar100_frozen.py",
    "../_base_/classification_runtime.py",
]
protocol = "k-NN, CIFAR-100"
test_cfg = dict(type="KNNLoop", k=20, temperature=0.07)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
