"""CIFAR-10, 32 x 32, for frozen features, from the published binaries in `data/cifar10/cifar-10-batches-py/`: all
50,000 training images are the memory.
"""
_base_ = []
from mimtransfer.training.recipes import frozen_loaders

test_cfg, test_dataloader = frozen_loaders(
    train=dict(type="TorchvisionCIFAR", root="data/cifar10", train=True),
    test=dict(type="TorchvisionCIFAR", root="data/cifar10", train=False),
    image_size=32,
)
