"""Any folder of images, at any depth: `--cfg-options train_dataloader.dataset.root=/path/to/images`.

A list of images instead: `train_dataloader.dataset.list_file=list.txt` (paths absolute or relative to the root).
"""
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="mimtransfer.stack_images"),
    dataset=dict(
        type="ImageFolder", root="data/images", transform=dict(type="RandomResizedCropFlip", size=224, scale=(0.2, 1.0))
    ),
)
