"""Tiny ImageNet, 200 classes, 64 x 64, as unpacked in `data/tiny-imagenet-200/`: 100,000 to train; tested on its 10,000
validation images, for the test images have no published labels.
"""
train_transform = [
    dict(type="RandomResizedCrop", size=64, scale=(0.2, 1.0), interpolation="bicubic"),
    dict(type="RandomHorizontalFlip"),
]
test_transform = [dict(type="Resize", size=(64, 64), interpolation="bicubic")]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=True, transform=train_transform),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=False, transform=test_transform),
)
test_dataloader = val_dataloader
