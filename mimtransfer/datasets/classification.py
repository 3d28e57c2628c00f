"""Labelled images for classification: an item is dict(inputs=[3, H, W] uint8 RGB, label=int).

Transforms are torchvision's (`torchvision.transforms.v2`), by their class names, on Pillow images; `TimmAugment` stands
for the whole of timm's training augmentation.
"""
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, v2

from mimtransfer.datasets.class_folders import class_images
from mimtransfer.datasets.class_names import check_folders, class_names, numbers_of
from mimtransfer.datasets.sampler import sample_seed
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import CorruptLimit, UnreadableImage, decode_rgb, open_rgb
from mimtransfer.errors import UserError, near_files, near_matches
from mimtransfer.registry import DATASETS


class LabelledImages(Dataset):
    """Images with class numbers, all of them or a class-balanced subset. A subclass gives `open`.

    With `EpochSampler` an item is a function of (run seed, epoch, number of the image) alone, whatever its transform
    draws: not of workers, ranks, or what was read before. Other samplers are for transforms that draw nothing.

    Args:
        labels: class number of each image.
        classes: names of the classes.
        transform: what happens to each picture, e.g. `[dict(type='Resize', size=256, interpolation='bicubic')]` or
            `[dict(type='TimmAugment', input_size=224, auto_augment='rand-m9-mstd0.5-inc1')]`.
        num_images: size of a class-balanced subset; None for no subset.
        images_per_class: size of the subset for each class, in place of `num_images`.
        fraction: size of the subset as a share of all images, in place of `num_images`: 0.01 for 1 %.
        seed: draws the subset; a smaller one is part of a larger one.
        max_corrupt: so many unreadable images are named in the log, the next one taking the place of each, in each
            training process. For training only: a score needs every image.

    Raises:
        UserError: an unknown transform, or more images than there are; from an item, an image that cannot be read.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        classes: Sequence[str],
        transform: Sequence[dict] = (),
        num_images: int | None = None,
        images_per_class: int | None = None,
        fraction: float | None = None,
        seed: int = 0,
        max_corrupt: int = 0,
    ):
        self._limit = CorruptLimit(max_corrupt)
        self.metainfo: dict[str, tuple] = {"classes": tuple(classes)}  # mmengine hands it to the evaluator
        self.labels = np.asarray(labels)
        self.transform = v2.Compose([*map(_build, transform), v2.PILToTensor()])
        self.indices = np.arange(len(self.labels))
        self.run_seed = 0
        if fraction is not None:
            if num_images is not None or images_per_class is not None or not 0 < fraction <= 1:
                raise UserError(f"{type(self).__name__}: got fraction={fraction}, num_images={num_images}, "
                                f"images_per_class={images_per_class}, expected one of them, fraction in (0, 1]")
            num_images = max(1, round(fraction * len(self.labels)))
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

    @property
    def reading(self) -> dict[str, str | None]:
        """Return what holds the images, and the decoder; None: pixels that lie in memory."""
        return {"source": type(self).__name__, "decoder": None}

    def open(self, index: int) -> Image.Image:
        """Return the picture with this number, in RGB. Raises: UnreadableImage."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Say where a picture is."""
        return f"number {index}"

    def __len__(self) -> int:
        return len(self.indices)

    def set_seed(self, seed: int) -> None:
        """Take the run seed from the sampler."""
        self.run_seed = seed

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor | int]:
        """Show an image. `item` is (epoch, number), as `EpochSampler` gives it, or a number."""
        epoch, number = item if isinstance(item, tuple) else (None, item)
        index = int(self.indices[number])
        if epoch is not None:
            _seed_generators(sample_seed(self.run_seed, epoch, index))
        for k in range(len(self.indices)):
            shown = int(self.indices[(number + k) % len(self.indices)])
            try:
                return {"inputs": self.transform(self.open(shown)), "label": int(self.labels[shown])}
            except UnreadableImage as error:
                self._limit.note(self.name(shown), str(error))
        raise UserError(f"no image is readable, the last one tried is {printable(self.name(shown))!r}")


@DATASETS.register_module()
class ClassFolder(LabelledImages):
    """One folder of pictures for each class, as ImageNet's `train` and torchvision's ImageFolder have it.

    Class numbers follow the sorted names of the folders, or `trained_classes`.

    Args:
        root: folder of the class folders.
        list_file: text file with the names of the images that count, one a line, with their class folder or without,
            as the published 1 % and 10 % of ImageNet have them (SimCLR, arXiv 2002.05709); not with other subsets.
        trained_classes: the classes of the classifier, where the folders are some of them: their names, or
            'imagenet-1k'. Accuracy is then that among the classes of the folders, as ImageNet-A and -R are scored.
        in_order: `trained_classes` are numbered as they are given; else by their sorted names.
        tested_classes: names that the folders must have, or 'imagenet-a', 'imagenet-r', 'imagenet-1k'; None for any.

    Raises:
        UserError: no such folder or list, other folders than these classes, a class without pictures, a listed image
            that is not there, or, from an item, a picture that cannot be read.
    """

    reading = {"source": "folder", "decoder": "pillow"}

    def __init__(
        self,
        root: str,
        list_file: str | None = None,
        trained_classes: str | Sequence[str] | None = None,
        tested_classes: str | Sequence[str] | None = None,
        in_order: bool = False,
        **kwargs,
    ):
        root = os.path.expanduser(root)
        self.source = class_images(root)
        folders, targets = self.source.classes, [number for _, number in self.source.samples]
        if tested_classes is not None:
            check_folders(folders, class_names(tested_classes), root)
        if trained_classes is None:
            super().__init__(targets, folders, **kwargs)
        else:
            trained = list(trained_classes) if in_order else class_names(trained_classes)
            numbers = numbers_of(folders, trained, root)
            super().__init__(np.array(numbers)[targets], trained, **kwargs)
            self.metainfo["tested_classes"] = tuple(numbers)
        if list_file is not None:
            if len(self.indices) < len(self.labels):
                raise UserError(f"ClassFolder: got list_file={list_file!r} and another subset, expected one of them")
            self.indices = _listed(list_file, [path for path, _ in self.source.samples], root)

    def open(self, index: int) -> Image.Image:
        return open_rgb(self.name(index))

    def name(self, index: int) -> str:
        return self.source.samples[index][0]


@DATASETS.register_module()
class LabelledImageSource(LabelledImages):
    """Stored images with classes, of any source: class folders, tar shards, zip, parquet, a Hugging Face data set.

    Args:
        source: what `mimtransfer.datasets.sources.recognise.open_source` reads.
        split: of a saved `DatasetDict`.

    Raises:
        UserError: nothing is there, it has no classes, or, from an item, an image that cannot be read.
    """

    def __init__(self, source: str, split: str = "train", **kwargs):
        self.source = open_source(source, with_classes=True, split=split)
        if self.source.labels is None:
            raise UserError(f"LabelledImageSource: {source!r} has no classes; expected one folder for each class, .cls "
                            "members in tar shards, or a column `label`")
        super().__init__(self.source.labels, self.source.classes, **kwargs)

    @property
    def reading(self) -> dict[str, str | None]:
        return {"source": self.source.kind, "decoder": "pillow"}

    def open(self, index: int) -> Image.Image:
        return decode_rgb(self.source.read(index))

    def name(self, index: int) -> str:
        return self.source.name(index)


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


def _listed(list_file: str, paths: list[str], root: str) -> np.ndarray:
    """Return the numbers of the images that a list names, ascending."""
    if not os.path.isfile(list_file):
        raise UserError(f"ClassFolder: list_file {list_file!r} does not exist{near_files(list_file)}")
    with open(list_file, encoding="utf-8") as file:
        names = list(filter(None, map(str.strip, file)))
    numbers = {os.path.basename(path): number for number, path in enumerate(paths)}
    numbers |= {os.path.relpath(path, root): number for number, path in enumerate(paths)}
    absent = [name for name in names if name not in numbers]
    if absent or not names:
        what = f"{absent[0]!r}, which is not in {root!r}" if absent else "no image"
        raise UserError(f"ClassFolder: list_file {list_file!r} names {what}; expected file names, one a line")
    return np.unique([numbers[name] for name in names])


def _seed_generators(seed: int) -> None:
    """Seed what transforms draw from. CUDA's generators are left alone: workers must not touch them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def _build(config: dict) -> Callable:
    kwargs = dict(config)
    name = kwargs.pop("type")
    if name == "TimmAugment":
        return _timm_augment(**kwargs)
    known = [key for key, value in vars(v2).items() if isinstance(value, type)]
    if name not in known:
        hint = near_matches(name, [*known, "TimmAugment"])
        raise UserError(f"transform {name!r} is not in torchvision.transforms.v2; {hint}")
    if "interpolation" in kwargs:
        kwargs["interpolation"] = InterpolationMode(kwargs["interpolation"])
    return getattr(v2, name)(**kwargs)


def _timm_augment(**kwargs: Any) -> Callable:
    """Build timm's training augmentation (`timm.data.create_transform`), up to uint8 pixels."""
    if kwargs.get("re_prob"):
        raise UserError("TimmAugment: got re_prob, but images are normalised later, on the device, and erasing comes "
                        "after that; set model.random_erasing of the Classifier")
    # timm's own default would be applied where no auto_augment is given.
    return create_transform(is_training=True, normalize=False, **{"color_jitter": None, **kwargs})
