"""Attentive probe of a frozen ViT-B/16, 20 epochs on ImageNet-1K, by V-JEPA's settings.

Aims at   none published for MAE under this protocol
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 128 = 1024
Time      not yet run here

Crops are torchvision's, as in linear_mae_vit-base_90e_in1k.py; V-JEPA's also have AutoAugment.
"""
_base_ = [
    "../_base_/data/in1k_labelled.py",
    "../_base_/classification_training.py",
    "../_base_/schedule/attentive_vjepa.py",
]
protocol = "attentive probe, ImageNet-1k, 20 epochs"
train_transform = [dict(type="RandomResizedCrop", size=224, interpolation="bicubic"), dict(type="RandomHorizontalFlip")]
model = dict(
    type="Classifier",
    backbone=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    num_classes=1000,
    pooling="attention",
    freeze_backbone=True,
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
train_dataloader = dict(batch_size=128, dataset=dict(transform=train_transform))
