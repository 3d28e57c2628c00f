"""ImageNet-1K (ILSVRC 2012) as class folders under `data/imagenet/{train,val}`; DeiT's augmentation by timm.

Random erasing, mixup, CutMix and label smoothing happen on the device: `model.random_erasing`, `model.mixup`.
"""
train_transform = [
    dict(type="TimmAugment", input_size=224, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic"),
]
test_transform = [
    dict(type="Resize", size=256, interpolation="bicubic"),  # 224 / 0.875
    dict(type="CenterCrop", size=224),
]
train_dataloader = dict(
    batch_size=128,  # of each process; the leaf sets what its recipe needs
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/imagenet/train", transform=train_transform),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=10,
    pin_memory=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/imagenet/val", transform=test_transform),
)
test_dataloader = val_dataloader
