"""CIFAR-100, 32 x 32, for frozen features, from the published binaries in `data/cifar100/cifar-100-python/`: all
50,000 training images are the memory.
"""
_base_ = []
from mimtransfer.training.recipes import frozen_loaders

test_cfg, test_dataloader = frozen_loaders(
    train=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=True),
    test=dict(type="TorchvisionCIFAR", root="data/cifar100", num_classes=100, train=False),
    image_size=32,
)
