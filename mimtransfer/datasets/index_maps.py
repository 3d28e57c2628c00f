"""Images with an index map each, for what may not import mmseg: its `BaseSegDataset`, by folders or by a list.
"""
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mimtransfer.datasets.tree import printable, some, walk
from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, decode_rgb, read_regular, reason
from mimtransfer.errors import UserError, near_files
from mimtransfer.stored import read_text

IGNORED = 255  # label of pixels that do not count, as in mmseg


class LabelledPicture(NamedTuple):
    """An image as it is shown to a network, and the classes of the pixels of the file."""

    image: Tensor  # [3, h, w] uint8, RGB
    labels: Tensor  # [H, W] int64; 255 does not count


class IndexMapFolder(Dataset):
    """Images and index maps of equal names but for their endings, at any depth below two folders.

    Args:
        images, maps: the folders.
        image_ending, map_ending: of the names.
        listed: text file with the names of the images that count, one a line, without their ending; None: all of them,
            as mmseg finds them.
        scale: the image is made as large as possible with sides up to these two, the longer one first (bilinear,
            rounded); None: as it is.
        reduce_zero_label: label 0 does not count, and 1 is the first class, as in mmseg.
        indices: places of the images that are kept, in the order of names or of the list; a number: so many; None: all.

    Raises:
        UserError: a folder or list is not there or has no such images, an image has no map, or there is no such place;
            from an item: a file cannot be read, or the map has another size than the image.
    """

    def __init__(self, images: str, maps: str, image_ending: str = ".jpg", map_ending: str = ".png",
                 listed: str | None = None, scale: Sequence[int] | None = None, reduce_zero_label: bool = False,
                 indices: Sequence[int] | int | None = None):
        self.scale, self.reduce_zero_label = scale, reduce_zero_label
        if not os.path.isdir(images):
            raise UserError(f"IndexMapFolder: folder {images!r} does not exist{near_files(images)}")
        if listed is None:
            names = [name.removesuffix(image_ending) for name in map(os.fsdecode, walk(images, as_mmseg=True).files)
                     if name.endswith(image_ending)]
        else:
            lines = read_text(listed, "write a name of an image a line, without its ending").splitlines()
            names = [line.strip() for line in lines if line.strip()]
        if not names:
            where = repr(images) if listed is None else f"the list {listed!r}"
            raise UserError(f"IndexMapFolder: no image *{image_ending} in {where}; set images, listed or image_ending")
        if indices is None or isinstance(indices, int):
            names = names[:indices]
        elif outside := [place for place in indices if not 0 <= place < len(names)]:
            raise UserError(f"IndexMapFolder: indices have {outside[0]}, but {(listed or images)!r} has {len(names)} "
                            "images; set indices")
        else:
            names = [names[place] for place in indices]
        self.paths = [(os.path.join(images, name + image_ending), os.path.join(maps, name + map_ending))
                      for name in names]
        if missing := [path for path, _ in self.paths if listed is not None and not os.path.isfile(path)]:
            raise UserError(f"IndexMapFolder: no image {some(map(printable, missing))}, which {listed!r} lists; set "
                            "images or image_ending")
        if missing := [path for _, path in self.paths if not os.path.isfile(path)]:
            raise UserError(f"IndexMapFolder: no index map {some(map(printable, missing))}; a map has the name of its "
                            f"image, with {map_ending}; set maps or map_ending")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> LabelledPicture:
        image, labels = self.paths[place]
        try:
            pixels = torch.from_numpy(np.array(decode_rgb(read_regular(image)))).permute(2, 0, 1)
        except UnreadableImage as error:
            raise UserError(f"image {printable(image)!r} cannot be read ({error}); repair it, or remove it with its "
                            "index map") from error
        classes = self._labels(labels)
        if classes.shape != pixels.shape[1:]:
            raise UserError(f"index map {printable(labels)!r} is {' x '.join(map(str, classes.shape[::-1]))}, its "
                            f"image {pixels.shape[2]} x {pixels.shape[1]}; resize it (nearest neighbour)")
        return LabelledPicture(self._shown(pixels), classes)

    def _labels(self, path: str) -> Tensor:
        try:
            with Image.open(io.BytesIO(read_regular(path))) as file:
                classes = torch.from_numpy(np.array(file)).long()
        except (*BROKEN, UnreadableImage) as error:
            why = str(error) if isinstance(error, UnreadableImage) else reason(None, error)
            raise UserError(f"index map {printable(path)!r} cannot be read ({why}); repair it, or remove it with its "
                            "image") from error
        if classes.ndim != 2 or not 0 <= int(classes.min()) <= int(classes.max()) <= IGNORED:
            raise UserError(f"index map {printable(path)!r} holds no class numbers from 0 to 255 but "
                            f"{list(classes.shape)} values up to {int(classes.max())}; save one channel of 8 bits")
        if self.reduce_zero_label:
            classes = torch.where((classes == 0) | (classes == IGNORED), IGNORED, classes - 1)
        return classes

    def _shown(self, pixels: Tensor) -> Tensor:
        """Resize as mmcv's `Resize(keep_ratio=True)`, whose bilinear sums are rounded a little differently."""
        if self.scale is None:
            return pixels
        sides = pixels.shape[1:]
        factor = min(max(self.scale) / max(sides), min(self.scale) / min(sides))
        size = [int(side * factor + 0.5) for side in sides]
        return F.interpolate(pixels[None].float(), size, mode="bilinear")[0].round().to(torch.uint8)
