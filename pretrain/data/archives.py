"""CIFAR-10, CIFAR-100 and STL-10 from their published binaries, read by torchvision.

The pixels stay in memory as one array, which workers share: 150 MB for CIFAR, 2.8 GB for STL-10's 100,000 unlabelled
images. The same pictures as files in a folder are a matter for `ImageFolder`.
"""
import os
from typing import Any

import numpy as np
import torchvision
from mmengine.dist import barrier
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS
from pretrain.data.decoding import StoredImage
from pretrain.data.images import PretrainImages


class _Archive(PretrainImages):
    """What the archives share.

    Args:
        root: folder that holds, or will hold, the unpacked archive.
        download: fetch the archive when it is not there; in a run of many processes one of each machine does.

    Raises:
        UserError: the archive is missing, incomplete, or cannot be fetched.
    """

    source: Any  # torchvision's class

    def __init__(
        self,
        transform: dict,
        root: str,
        split: dict,
        download: bool = False,
        seed: int | None = None,
        max_corrupt: int = 10,
    ):
        self.root = os.path.expanduser(root)
        if download:
            if os.environ.get("LOCAL_RANK", "0") == "0":
                self._read(split, download=True)
            barrier()
        self.pixels = self._read(split)  # [number, ...] uint8
        super().__init__(transform, seed, max_corrupt)

    def _read(self, split: dict, download: bool = False) -> np.ndarray:
        source = self.source
        try:
            return source(self.root, **split, download=download).data
        except (RuntimeError, OSError) as error:  # torchvision: missing, or a wrong checksum; a network that fails
            folder = os.path.join(self.root, source.base_folder)
            if download:
                raise UserError(
                    f"{source.__name__}: cannot fetch {source.url} ({error}): "
                    f"fetch it by other means and unpack it in {self.root}"
                ) from error
            state = "is incomplete or damaged" if os.path.isdir(folder) else "does not exist"
            raise UserError(
                f"{source.__name__}: {folder} {state}: set download=True of the data set, "
                f"or unpack {source.url} in {self.root}"
            ) from error

    @property
    def reading(self) -> dict[str, str | None]:
        return {"source": type(self).__name__, "decoder": None}

    def __len__(self) -> int:
        return len(self.pixels)

    def open(self, index: int) -> StoredImage:
        return StoredImage(Image.fromarray(self.pixels[index]))

    def name(self, index: int) -> str:
        return f"{index} of {os.path.join(self.root, self.source.base_folder)}"


@DATASETS.register_module()
class CIFAR10(_Archive):
    """50,000 training images of 32 x 32 (Krizhevsky 2009). `train=False`: the 10,000 test images."""

    source = torchvision.datasets.CIFAR10

    def __init__(self, transform: dict, root: str, train: bool = True, **kwargs):
        super().__init__(transform, root, {"train": train}, **kwargs)


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """50,000 training images of 32 x 32, other pictures than CIFAR-10's (Krizhevsky 2009)."""

    source = torchvision.datasets.CIFAR100


@DATASETS.register_module()
class STL10(_Archive):
    """Images of 96 x 96 (Coates et al. 2011).

    Args:
        split: unlabeled (100,000 images), train (5,000), train+unlabeled, or test (8,000).
    """

    source = torchvision.datasets.STL10

    def __init__(self, transform: dict, root: str, split: str = "unlabeled", **kwargs):
        if split not in self.source.splits:
            raise UserError(f"STL10: got split={split!r}, expected one of {', '.join(self.source.splits)}")
        super().__init__(transform, root, {"split": split}, **kwargs)

    def open(self, index: int) -> StoredImage:
        return StoredImage(Image.fromarray(np.ascontiguousarray(self.pixels[index].transpose(1, 2, 0))))
