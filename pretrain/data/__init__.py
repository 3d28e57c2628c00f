"""From a disk to (uint8 image, AugRecord).

Read in this order: `decoding`, `on_device`, `transforms`, `images`, `archives`, `mimtransfer.datasets.sampler`.
Importing this package registers the data sets, transforms and samplers of pretraining.
"""
from mimtransfer.datasets.sampler import EpochSampler
from pretrain.data.archives import CIFAR10, CIFAR100, STL10
from pretrain.data.decoding import StoredImage, UnreadableImage
from pretrain.data.images import ImageFolder, ImageSource, PretrainImages
from pretrain.data.transforms import CenterCrop, RandomResizedCropFlip, ResizeWhole

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "STL10",
    "CenterCrop",
    "EpochSampler",
    "ImageFolder",
    "ImageSource",
    "PretrainImages",
    "RandomResizedCropFlip",
    "ResizeWhole",
    "StoredImage",
    "UnreadableImage",
]
