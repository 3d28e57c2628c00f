"""Attentive probe of a frozen ViT-Ti/4, 20 epochs on CIFAR-10, by V-JEPA's settings at a smaller batch.

Command   python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Batch     256, so lr 1e-3 * 256 / 1024 = 2.5e-4
Time      not yet run
"""
_base_ = [
    "../_base_/data/cifar10_labelled.py",
    "../_base_/classification_training.py",
    "../_base_/schedule/attentive_vjepa.py",
]
protocol = "attentive probe, CIFAR-10, 20 epochs"
model = dict(
    type="Classifier",
    backbone=dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=4, pos_embed="sincos"),
    num_classes=10,
    pooling="attention",
    freeze_backbone=True,
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_dataloader = dict(batch_size=256, num_workers=4)
