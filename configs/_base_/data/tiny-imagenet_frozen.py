"""Tiny ImageNet, 200 classes, 64 x 64, for frozen features, from `data/tiny-imagenet-200/` as it unpacks: all 100,000
training images are the memory; tested on the 10,000 validation images, for the test images have no published
labels.
"""
_base_ = []
from mimtransfer.training.recipes import frozen_loaders

test_cfg, test_dataloader = frozen_loaders(
    train=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=True),
    test=dict(type="TinyImageNet", root="data/tiny-imagenet-200", train=False),
    image_size=64,
)
