"""Fine-tuning of a ViT-Ti/4, 100 epochs on CIFAR-10 with MAE's recipe for ImageNet: for a GPU.

Command   python tools/train.py CONFIG --amp --pretrained work_dirs/CKPT
Data      data/cifar10/{train,test} as class folders (docs/classification.md)
Batch     512, so lr 5e-4 * 512 / 256 = 1e-3
Time      not yet run
"""
_base_ = [
    "../_base_/data/cifar10_labelled.py",
    "../_base_/schedule/finetune_mae.py",
    "../_base_/classification_training.py",
]
protocol = "fine-tuning, CIFAR-10, 100 epochs"
model = dict(
    type="Classifier",
    backbone=dict(
        type="TimmViT",
        arch="vit_tiny_patch16_224",
        img_size=32,
        patch_size=4,
        pos_embed="learned",  # started from MAE's sine-cosine table, and trained
        drop_path_rate=0.1,
        final_norm=False,
    ),
    num_classes=10,
    pooling="mean",
    norm="layer",
    head_std=2e-5,
    label_smoothing=0.1,
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
    random_erasing=dict(probability=0.25, mode="pixel"),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
train_transform = [
    dict(type="TimmAugment", input_size=32, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic"),
]
train_dataloader = dict(batch_size=512, num_workers=4, dataset=dict(transform=train_transform))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
