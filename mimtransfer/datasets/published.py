"""Published data sets for classification in the form in which their authors give them."""
import os
from pathlib import Path

import torchvision
from PIL import Image

from mimtransfer.datasets.classification import LabelledImages
from mimtransfer.datasets.unreadable import open_rgb
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS


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


@DATASETS.register_module()
class TorchvisionSTL10(LabelledImages):
    """The labelled images of STL-10 (Coates, Lee and Ng 2011), 96 x 96, from the published binaries.

    Args:
        root: folder that holds `stl10_binary`.
        train: the 5,000 training images, or else the 8,000 test images.
        fold: 0 to 9 for one of the ten published folds of 1,000 training images; None for all.
        download: fetch the archive when it is not there.

    Raises:
        UserError: the archive is missing or damaged.
    """

    def __init__(self, root: str, train: bool = True, fold: int | None = None, download: bool = False, **kwargs):
        root = os.path.expanduser(root)
        source = torchvision.datasets.STL10
        try:
            self.source = source(root, split="train" if train else "test", folds=fold, download=download)
        except (RuntimeError, OSError) as error:
            raise UserError(f"TorchvisionSTL10: no whole {source.base_folder!r} in {root!r} ({error}); unpack "
                            f"{source.url} there, or set download=True of the data set") from None
        super().__init__(self.source.labels, self.source.classes, **kwargs)

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.source.data[index].transpose(1, 2, 0))


@DATASETS.register_module()
class TinyImageNet(LabelledImages):
    """Tiny ImageNet (Stanford CS231n): 200 classes, 64 x 64, as the archive `tiny-imagenet-200.zip` unpacks.

    Training images lie in `train/WNID/images/`, the validation images all in `val/images/`, with their classes in
    `val/val_annotations.txt`. The test images have no published labels. Class numbers follow the sorted WordNet ids.

    Args:
        root: folder `tiny-imagenet-200`.
        train: the 100,000 training images, or else the 10,000 validation images.

    Raises:
        UserError: something of it is not there, or, from an item, a picture that cannot be read.
    """

    reading = {"source": "folder", "decoder": "pillow"}

    def __init__(self, root: str, train: bool = True, **kwargs):
        folder = Path(root).expanduser()
        try:
            classes = sorted((folder / "wnids.txt").read_text().split())
            if train:
                folders = {name: folder / "train" / name / "images" for name in classes}
                images = [(path, name) for name in classes for path in sorted(folders[name].glob("*.JPEG"))]
            else:
                rows = (line.split("\t") for line in (folder / "val/val_annotations.txt").read_text().splitlines())
                images = [(folder / "val/images" / row[0], row[1]) for row in rows]
        except OSError as error:
            raise UserError(f"TinyImageNet: {str(error.filename)!r} cannot be read ({error.strerror}); unpack "
                            "tiny-imagenet-200.zip (https://cs231n.stanford.edu/tiny-imagenet-200.zip) and set root to "
                            "its folder") from None
        if not images:
            raise UserError(f"TinyImageNet: no image in {str(folder / 'train')!r}; unpack tiny-imagenet-200.zip again")
        self.paths = [path for path, _ in images]
        numbers = {name: number for number, name in enumerate(classes)}
        super().__init__([numbers[name] for _, name in images], classes, **kwargs)

    def open(self, index: int) -> Image.Image:
        return open_rgb(self.name(index))

    def name(self, index: int) -> str:
        return str(self.paths[index])
