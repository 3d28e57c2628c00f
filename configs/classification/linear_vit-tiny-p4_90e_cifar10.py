"""Linear probing of a ViT-Ti/4, 90 epochs on CIFAR-10, mean of the patch tokens: for a GPU.

Command   python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Batch     1024, so lr 0.1 * 1024 / 256 = 0.4
Time      not yet run; on a CPU take linear-sweep_vit-tiny-p4_cifar10.py, which computes features once
"""
_base_ = [
    "../_base_/data/cifar10_labelled.py",
    "../_base_/classification_training.py",
    "../_base_/schedule/linear_mae.py",
]
protocol = "linear probe, CIFAR-10, 90 epochs"
model = dict(
    type="Classifier",
    backbone=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=4, pos_embed="sincos"),
    num_classes=10,
    pooling="mean",
    norm="batch",
    freeze_backbone=True,
    head_std=0.01,
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(batch_size=1024, num_workers=4)
