"""CIFAR-10 as class folders of pictures of 32 x 32: `data/cifar10/{train,test}/{airplane,automobile,...}/*`.

From the published binaries instead: `dict(type="TorchvisionCIFAR", root="data/cifar10", train=True)` and `train=False`.
Crops of at least half of the image, bicubic; flips.
"""
_base_ = []
from mimtransfer.training.recipes import small_image_loaders

train_dataloader, val_dataloader = small_image_loaders(
    train=dict(type="ClassFolder", root="data/cifar10/train"),
    test=dict(type="ClassFolder", root="data/cifar10/test"),
    image_size=32,
    scale=(0.5, 1.0),
    num_workers=1,
)
test_dataloader = val_dataloader
