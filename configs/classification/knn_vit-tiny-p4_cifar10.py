"""Weighted k-NN (k = 20, temperature 0.07) on frozen features of a ViT-Ti/4, CIFAR-10.

Command   python tools/test.py configs/classification/knn_vit-tiny-p4_cifar10.py --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Time      on one core of a busy CPU 5 to 9 ms an image, 2 to 3 with --amp; there are 20,000
Score     k-NN top-1: not yet run
"""
_base_ = ["../_base_/data/cifar10_classification.py", "../_base_/classification_runtime.py"]
protocol = "k-NN, CIFAR-10, memory of 10000"

model = dict(
    type="FrozenFeatures",
    backbone=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=4, pos_embed="sincos"),
    pooling="mean",
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
test_cfg = dict(type="KNNLoop", k=20, temperature=0.07)
test_evaluator = dict(type="TopAccuracy", topk=(1, 5), prefix="knn")
