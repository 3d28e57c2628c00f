"""Fine-tuning of a ViT-Ti/4, 100 epochs on CIFAR-10 with MAE's recipe for ImageNet: for a GPU.

Command   python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Batch     512, so lr 5e-4 * 512 / 256 = 1e-3
Time      not yet run
"""
_base_ = [
    "../_base_/model/classifier_vit-tiny-p4.py",
    "../_base_/data/cifar10_labelled.py",
    "../_base_/schedule/finetune_mae.py",
    "../_base_/classification_training.py",
]
from mimtransfer.training.recipes import timm_augment

protocol = "fine-tuning, CIFAR-10, 100 epochs"
model = dict(
    backbone=dict(drop_path_rate=0.1),
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
    random_erasing=dict(probability=0.25, mode="pixel"),
)
train_dataloader = dict(batch_size=512, num_workers=4, dataset=dict(transform=timm_augment(32)))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
