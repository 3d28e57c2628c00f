"""ImageNet-1K (ILSVRC 2012) for pretraining: 1,281,167 images under `train/`, labels not used; MAE's augmentation.

Crops of at least 20 % of the image, bicubic, flips (arXiv 2111.06377, table 8).
"""
train_dataloader = dict(
    batch_size=64,  # of each process; the leaf sets what its recipe needs
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="ImageFolder",
        root="data/imagenet/train",
        transform=dict(type="RandomResizedCropFlip", size=224, scale=(0.2, 1.0)),
    ),
)
