"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-B/16, CIFAR-10 at 224 pixels.

For encoders pretrained on ImageNet-1K: each image is shown whole, enlarged to the size they know.

Command   python tools/test.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/cifar10_frozen-224.py: 50,000 images as the memory, 10,000 tested
Score     k-NN top-1: not yet run; no time known
"""
_base_ = [
    "../_base_/model/frozen_vit-base.py",
    "../_base_/data/cifar10_frozen-224.py",
    "../_base_/classification_runtime.py",
]
protocol = "k-NN, CIFAR-10 at 224 pixels"
test_cfg = dict(type="KNNLoop", k=20, temperature=0.07)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
