"""STL-10: 100,000 unlabelled images of 96 x 96, from the published binaries in `data/stl10/stl10_binary/`.

To fetch them (2.6 GB): `--cfg-options train_dataloader.dataset.download=True`.
"""
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="STL10",
        root="data/stl10",
        transform=dict(type="RandomResizedCropFlip", size=96, scale=(0.2, 1.0)),
    ),
)
