"""Fine-tuning of a ViT-Ti/4, 100 epochs on CIFAR-100 with MAE's recipe for ImageNet: for a GPU.

Command   python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      configs/_base_/data/cifar100_labelled.py
Batch     512, so lr 5e-4 * 512 / 256 = 1e-3
Time      not yet run
"""
_base_ = [
    "../_base_/model/classifier_vit-base.py",
    "../_base_/data/cifar100_labelled.py",
    "../_base_/schedule/finetune_mae.py",
    "../_base_/classification_training.py",
]
from mimtransfer.training.recipes import timm_augment

protocol = "fine-tuning, CIFAR-100, 100 epochs"
model = dict(backbone=dict(arch="vit_tiny_patch16_224", img_size=32, patch_size=4), num_classes=100)
train_dataloader = dict(batch_size=512, num_workers=4, dataset=dict(transform=timm_augment(32)))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
