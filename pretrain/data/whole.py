"""Whole images for pictures and measurements: any files and folders, without crop and flip."""
import os
from collections.abc import Sequence

from mimtransfer.checkpoints.channels import RGB
from mimtransfer.datasets.bands import BAND_EXTENSIONS
from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.sources.paths import find_images
from mimtransfer.datasets.unreadable import read_regular
from mimtransfer.errors import UserError, near_files
from pretrain.data.decoding import BandsImage, StoredImage
from pretrain.data.images import PretrainImages


class WholeImages(PretrainImages):
    """Show images squashed to one size, in order; items are those of a training set, with identity boxes.

    Args:
        paths: image files, and folders of images at any depth.
        size: side of the square result, or (height, width), in pixels.
        num_images: use at most so many of them, evenly spaced; None: all.
        decoder, in_chans: as of the training set.

    Raises:
        UserError: a path does not exist, or a folder holds no image; from an item: it cannot be read.
    """

    def __init__(self, paths: Sequence[str], size: int | tuple[int, int], num_images: int | None = None, seed: int = 0,
                 decoder: str = "auto", in_chans: int = RGB):
        files = []
        extensions = BAND_EXTENSIONS if decoder == "bands" or in_chans != RGB else EXTENSIONS
        for path in paths:
            if os.path.isdir(path):
                files += [os.path.join(path, os.fsdecode(file)) for file in find_images(path, extensions)]
            elif os.path.isfile(path):
                files.append(path)
            else:
                raise UserError(f"image {path!r}: no such file or folder{near_files(path)}")
        count = min(num_images or len(files), len(files))
        self.files = [files[i * len(files) // count] for i in range(count)]
        super().__init__(dict(type="ResizeWhole", size=size), seed, max_corrupt=0, decoder=decoder, in_chans=in_chans)

    def __len__(self) -> int:
        return len(self.files)

    def open(self, index: int) -> StoredImage | BandsImage:
        return self.decode(read_regular(self.files[index]))

    def name(self, index: int) -> str:
        return self.files[index]
