"""Linear probing of MAE, ViT-B/16, 90 epochs on ImageNet-1K, class token.

Aims at   MAE (FINETUNE.md): 67.8 from 1600 epochs; mmpretrain's re-runs: 60.8 from 300, 62.5 from 400, 65.1 from 800
Command   torchrun --nproc_per_node=8 tools/train.py CONFIG --launcher pytorch --amp --pretrained work_dirs/CKPT
Batch     8 GPUs x 512 x accumulation 4 = 16384, so lr 0.1 * 16384 / 256 = 6.4;
          512 images share their batch statistics, as in MAE
Time      2 h 20 min on 32 V100 (official); here not yet run

Crops are torchvision's; MAE's own differ where one of the drawn shape does not fit. Mean pooling: model.pooling=mean.
AdamW: optim_wrapper.optimizer = dict(_delete_=True, type="AdamW", lr=..., weight_decay=...).
"""
_base_ = ["../_base_/data/in1k_labelled.py", "../_base_/classification_training.py", "../_base_/schedule/linear_mae.py"]
protocol = "linear probe of MAE, ImageNet-1k"
train_transform = [dict(type="RandomResizedCrop", size=224, interpolation="bicubic"), dict(type="RandomHorizontalFlip")]
model = dict(
    type="Classifier",
    backbone=dict(type="TimmViT", arch="vit_base_patch16_224", img_size=224, pos_embed="sincos"),
    num_classes=1000,
    pooling="class",
    norm="batch",
    freeze_backbone=True,
    head_std=0.01,
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
train_dataloader = dict(batch_size=512, dataset=dict(transform=train_transform))
optim_wrapper = dict(accumulative_counts=4)
