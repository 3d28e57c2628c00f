"""STL-10: 100,000 unlabelled images of 96 x 96, from the published binaries in `data/stl10/stl10_binary/`.

To fetch them (2.6 GB): `--cfg-options train_dataloader.dataset.download=True`.
"""
_base_ = ["cifar10.py"]
train_dataloader = dict(dataset=dict(type="STL10", root="data/stl10", transform=dict(size=96)))
