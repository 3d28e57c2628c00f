"""CIFAR-10's 50,000 training images of 32 x 32, from the published binaries in `data/cifar10/cifar-10-batches-py/`.

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
        type="CIFAR10", root="data/cifar10", transform=dict(type="RandomResizedCropFlip", size=32, scale=(0.2, 1.0))
    ),
)
