"""CIFAR-100 with labels, 32 x 32, from the published binaries in `data/cifar100/cifar-100-python/`.

To fetch them: `download=True` of the data sets.
"""
_base_ = []
from mimtransfer.training.recipes import small_image_loaders

train_dataloader, val_dataloader = small_image_loaders(
    train=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=True),
    test=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=False),
    image_size=32,
    scale=(0.5, 1.0),
)
test_dataloader = val_dataloader
