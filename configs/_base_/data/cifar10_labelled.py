"""CIFAR-10 as class folders of pictures of 32 x 32: `data/cifar10/{train,test}/{airplane,automobile,...}/*`.

From the published binaries instead: `dict(type="TorchvisionCIFAR", root="data/cifar10", train=True)` and `train=False`.
Crops of at least half of the image, bicubic; flips.
"""
train_transform = [
    dict(type="RandomResizedCrop", size=32, scale=(0.5, 1.0), interpolation="bicubic"),
    dict(type="RandomHorizontalFlip"),
]
test_transform = [dict(type="Resize", size=(32, 32), interpolation="bicubic")]  # leaves 32 x 32 as it is
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/cifar10/train", transform=train_transform),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="ClassFolder", root="data/cifar10/test", transform=test_transform),
)
test_dataloader = val_dataloader
