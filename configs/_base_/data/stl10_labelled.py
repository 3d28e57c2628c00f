"""The labelled images of STL-10, 96 x 96: 5,000 to train, 8,000 to test, from `data/stl10/stl10_binary/`.

To fetch them (2.6 GB): `download=True` of the data sets.
"""
_base_ = []
from mimtransfer.training.recipes import small_image_loaders

train_dataloader, val_dataloader = small_image_loaders(
    train=dict(type="TorchvisionSTL10", root="data/stl10", train=True),
    test=dict(type="TorchvisionSTL10", root="data/stl10", train=False),
    image_size=96,
    scale=(0.2, 1.0),
)
test_dataloader = val_dataloader
