"""CIFAR-100's 50,000 training images of 32 x 32, from the published binaries in `data/cifar100/cifar-100-python/`.

To fetch them: `--cfg-options train_dataloader.dataset.download=True`. As files in a folder: `folder.py` with size 32.
"""
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="CIFAR100",
        root="data/cifar100",
        transform=dict(type="RandomResizedCropFlip", size=32, scale=(0.2, 1.0)),
    ),
)
