"""The labelled images of STL-10, 96 x 96: 5,000 to train, 8,000 to test, from `data/stl10/stl10_binary/`.

To fetch them (2.6 GB): `download=True` of the data sets.
"""
train_transform = [
    dict(type="RandomResizedCrop", size=96, scale=(0.2, 1.0), interpolation="bicubic"),
    dict(type="RandomHorizontalFlip"),
]
test_transform = [dict(type="Resize", size=(96, 96), interpolation="bicubic")]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TorchvisionSTL10", root="data/stl10", train=True, transform=train_transform),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="TorchvisionSTL10", root="data/stl10", train=False, transform=test_transform),
)
test_dataloader = val_dataloader
