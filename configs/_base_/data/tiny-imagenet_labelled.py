"""Tiny ImageNet, 200 classes, 64 x 64, as unpacked in `data/tiny-imagenet-200/`: 100,000 to train; tested on its 10,000
validation images, for the test images have no published labels.
"""
_base_ = []
from mimtransfer.training.recipes import small_image_loaders

train_dataloader, val_dataloader = small_image_loaders(
    train=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=True),
    test=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=False),
    image_size=64,
    scale=(0.2, 1.0),
)
test_dataloader = val_dataloader
