"""CIFAR-100 with labels, 32 x 32, from the published binaries in `data/cifar100/cifar-100-python/`.

To fetch them: `download=True` of the data sets.
"""
train_transform = [
    dict(type="RandomResizedCrop", size=32, scale=(0.5, 1.0), interpolation="bicubic"),
    dict(type="RandomHorizontalFlip"),
]
test_transform = [dict(type="Resize", size=(32, 32), interpolation="bicubic")]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=True, transform=train_transform),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=False, transform=test_transform),
)
test_dataloader = val_dataloader
