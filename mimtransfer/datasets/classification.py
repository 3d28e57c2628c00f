"""Labelled images for classification: an item is dict(inputs=[3, H, W] uint8 RGB, label=int).

Transforms are torchvision's (`torchvision.transforms.v2`), by their class names, on Pillow images.
"""
import os
from collections.abc import Sequence

import numpy as np
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from mimtransfer.errors import UserError, near_files, near_matches
from mimtransfer.registry import DATASETS


class LabelledImages(Dataset):
    """Images with class numbers, all of them or a class-balanced subset. A subclass gives `open`.

    Args:
        labels: class number of each image.
        classes: names of the classes.
        transform: what happens to each picture, e.g. `[dict(type='Resize', size=256, interpolation='bicubic')]`.
        num_images: size of a class-balanced subset; None for no subset.
        images_per_class: size of the subset for each class, in place of `num_images`.
        seed: draws the subset; a smaller one is part of a larger one.

    Raises:
        UserError: an unknown transform, or more images than there are.
    """

    def __init__(
        self,
        labels: Sequence[int],
        classes: Sequence[str],
        transform: Sequence[dict] = (),
        num_images: int | None = None,
        images_per_class: int | None = None,
        seed: int = 0,
    ):
        self.metainfo = {"classes": tuple(classes)}  # mmengine hands it to the evaluator
        self.labels = np.asarray(labels)
        self.transform = v2.Compose([*map(_build, transform), v2.PILToTensor()])
        self.indices = np.arange(len(self.labels))
        if images_per_class is not None:
            fewest = int(np.bincount(self.labels, minlength=len(classes)).min())
            if num_images is not None or images_per_class > fewest:
                raise UserError(
                    f"{type(self).__name__}: got images_per_class={images_per_class}, num_images={num_images}, "
                    f"expected one of them, and no more than the {fewest} images of the smallest class"
                )
            num_images = images_per_class * len(classes)
        if num_images is not None:
            if not 0 < num_images <= len(self.labels):
                raise UserError(f"{type(self).__name__}: got a subset of {num_images} images, expected 1 to "
                                f"{len(self.labels)}, which there are")
            self.indices = balanced_subset(self.labels, num_images, seed)

    def open(self, index: int) -> Image.Image:
        """Return the picture with this number, in RGB."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> dict[str, Tensor | int]:
        index = int(self.indices[item])
        return {"inputs": self.transform(self.open(index)), "label": int(self.labels[index])}


@DATASETS.register_module()
class ClassFolder(LabelledImages):
    """One folder of pictures for each class, as ImageNet's `train` and torchvision's ImageFolder have it.

    Class numbers follow the sorted names of the folders.

    Args:
        root: folder of the class folders.

    Raises:
        UserError: no such folder, a class without pictures, or, from an item, a picture that cannot be read.
    """

    def __init__(self, root: str, **kwargs):
        root = os.path.expanduser(root)
        if not os.path.isdir(root):
            raise UserError(f"ClassFolder: folder {root!r} does not exist{near_files(root.rstrip('/'))}; set the data "
                            "set's root to a folder with one folder of images for each class")
        try:
            self.source = torchvision.datasets.ImageFolder(root)
        except FileNotFoundError as error:  # no class folder, or one without images
            raise UserError(f"ClassFolder: {str(error).split('Supported')[0].strip(' .')} in {root!r}; expected one "
                            "folder of images for each class") from None
        super().__init__(self.source.targets, self.source.classes, **kwargs)

    def open(self, index: int) -> Image.Image:
        path = self.source.samples[index][0]
        try:
            return self.source.loader(path)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"image {path!r} cannot be read ({error}); repair it or remove it") from None


@DATASETS.register_module()
class TorchvisionCIFAR(LabelledImages):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009) from the published binaries.

    Args:
        root: folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        num_classes: 10 or 100.
        train: the 50,000 training images, or else the 10,000 test images.
        download: fetch the archive when it is not there.

    Raises:
        UserError: the archive is missing or damaged.
    """

    def __init__(self, root: str, num_classes: int = 10, train: bool = True, download: bool = False, **kwargs):
        sources = {10: torchvision.datasets.CIFAR10, 100: torchvision.datasets.CIFAR100}
        if num_classes not in sources:
            raise UserError(f"TorchvisionCIFAR: got num_classes={num_classes!r}, expected 10 or 100")
        source, root = sources[num_classes], os.path.expanduser(root)
        try:
            self.source = source(root, train=train, download=download)
        except (RuntimeError, OSError) as error:
            raise UserError(f"TorchvisionCIFAR: no whole {source.base_folder!r} in {root!r} ({error}); unpack "
                            f"{source.url} there, or set download=True of the data set") from None
        super().__init__(self.source.targets, self.source.classes, **kwargs)

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.source.data[index])


def balanced_subset(labels: np.ndarray, num_images: int, seed: int) -> np.ndarray:
    """Draw images so that the classes' numbers differ by one at most, as far as each class has so many.

    Returns:
        [num_images] int64, ascending; for a smaller number a part of it.
    """
    order = np.random.RandomState(seed).permutation(len(labels))  # the stream of this generator is frozen
    turn = np.empty_like(order)  # place of an image among those of its class
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:num_images]])


def _build(config: dict) -> v2.Transform:
    kwargs = dict(config)
    name = kwargs.pop("type")
    known = [key for key, value in vars(v2).items() if isinstance(value, type)]
    if name not in known:
        raise UserError(f"transform {name!r} is not in torchvision.transforms.v2; {near_matches(name, known)}")
    if "interpolation" in kwargs:
        kwargs["interpolation"] = InterpolationMode(kwargs["interpolation"])
    return getattr(v2, name)(**kwargs)
