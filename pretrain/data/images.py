"""Training sets of unlabelled images: an item is dict(inputs=[3, H, W] uint8 RGB, record=AugRecord). With `in_chans` or
`decoder='bands'` inputs are [in_chans, H, W], uint8 or float32; with `augment='device'` an item is
dict(inputs=canvas [2 H, 2 W, 3] uint8, crop=[4] float32, record=AugRecord), see `on_device`.
"""
import copy
import logging
import os
from collections.abc import Callable, Sequence
from itertools import chain
from random import Random
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mimtransfer.checkpoints.channels import RGB
from mimtransfer.datasets.bands import BAND_EXTENSIONS
from mimtransfer.datasets.shared_memory import LateSamples
from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.sources.paths import PathTable, find_images, read_list
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import read_regular
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS, TRANSFORMS
from pretrain.aug_record import AugRecord, sample_seed
from pretrain.data.decoding import BandsImage, StoredImage, TurboImage, UnreadableImage, choose_decoder
from pretrain.data.on_device import Canvas, Unresized
from pretrain.data.transforms import Shown, check_augment, check_transform


class PretrainImages(Dataset):
    """Images by number. A subclass gives `__len__`, `open` and `name`.

    An item is a function of (seed, epoch, index) alone: not of workers, ranks, or what was read before.

    An image that cannot be read is named in the log once, and the next readable one takes its place, augmented with the
    seed of the image that was asked for, so it is not shown twice alike; `record.index` is the image really shown.
    The workers of a process count together: they share one flag for each image.

    Args:
        transform: config of a transform, or a built one.
        seed: the run seed; None: that of the sampler.
        max_corrupt: so many unreadable images are replaced, in each training process (rank) of a run.
        decoder: pillow, turbo, bands or auto (`pretrain.data.decoding`).
        in_chans: channels of the images; the top-level `in_chans` of a config sets it.
        augment: host, or device: crops are resized and flipped where the model is.

    Raises:
        UserError: from an item, when there are more unreadable images than `max_corrupt`.
    """

    metainfo: dict = {}  # mmengine's loops ask for it
    kind = "folder"

    def __init__(self, transform: dict, seed: int | None = None, max_corrupt: int = 10,
                 decoder: str = "auto", in_chans: int = RGB, augment: str = "host"):
        if not isinstance(max_corrupt, int) or max_corrupt < 0:
            raise UserError(f"{type(self).__name__}: got max_corrupt={max_corrupt!r}, expected an int >= 0")
        self.transform = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
        self.max_corrupt = max_corrupt
        self.seed = seed
        self.decode = choose_decoder(decoder, in_chans)
        bands = _reads_bands(decoder, in_chans)
        check_transform(self.transform, bands)
        check_augment(augment, self.transform, bands)
        self.augment = augment
        self._opened: tuple[int, Any] | None = None  # the next sample may be another view of it
        self._unreadable = torch.zeros(len(self), dtype=torch.uint8).share_memory_()
        self._size = torch.zeros(2, dtype=torch.int64).share_memory_()  # 0: that of the transform

    @property
    def reading(self) -> dict[str, str | None]:
        """Return what holds the images, and the decoder in force; None: pixels that lie in memory."""
        opener: Any = getattr(self.decode, "func", self.decode)  # of a partial
        return {"source": self.kind, "decoder": opener.decoder}

    @property
    def unreadable(self) -> list[str]:
        """Return the names of the images that could not be read so far, by any worker of this process."""
        return [printable(self.name(index)) for index in self._unreadable.nonzero().flatten().tolist()]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None}

    def __len__(self) -> int:
        raise NotImplementedError

    def open(self, index: int) -> StoredImage | BandsImage:
        """Open an image. Raises: UnreadableImage."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """Say where an image is, for the log."""
        raise NotImplementedError

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width that images are shown with in the place of the transform's; None: the transform's.

        Workers see a change with the next image they are asked for, so set it between epochs.
        """
        height, width = self._size.tolist()
        return (height, width) if height else None

    @image_size.setter
    def image_size(self, size: tuple[int, int] | None) -> None:
        self._size.copy_(torch.tensor(size or (0, 0)))

    def shown_by(self, transform: Any) -> "PretrainImages":
        """Return the same images (their table and the flags of unreadable ones) under another transform, of its size.
        """
        images = copy.copy(self)
        images.transform = transform
        images._size = torch.zeros_like(self._size).share_memory_()
        return images

    def _transform_now(self) -> Callable[..., Shown]:
        size = self.image_size
        return self.transform if size is None else self.transform.resized(size)

    def set_seed(self, seed: int) -> None:
        """Take the run seed from the sampler, unless the config gave another."""
        if self.seed is None:
            self.seed = seed

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """Show an image. `item` is (epoch, index), as `EpochSampler` gives it, or an index, meant for epoch 0."""
        sample = self._plain(item)
        index, seed, box, flip = sample["record"]
        # torch makes a tensor of an array four times as fast as of a number.
        sample["record"] = AugRecord(
            index=torch.from_numpy(np.array(index, np.int64)),
            seed=torch.from_numpy(np.array(seed, np.int64)),
            box=torch.from_numpy(box),
            flip=torch.from_numpy(np.array(flip)),
        )
        return sample

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> LateSamples:
        """Show the images of a batch: torch's loaders call this where a data set has it."""
        plain = self._plain if type(self).__getitem__ is PretrainImages.__getitem__ else None
        return LateSamples(self.__getitem__, items, plain)

    def _plain(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """Show an image; the record holds two numbers, an array and a bool, which are cheaper to stack."""
        epoch, index = item if isinstance(item, tuple) else (0, item)
        if not 0 <= index < len(self):
            raise IndexError(f"got image {index}, expected 0 to {len(self) - 1}")
        seed = sample_seed(self.seed or 0, epoch, index)
        shown, (pixels, box, flip) = self._show(index, seed)
        record: Any = AugRecord(int(shown), seed, np.array(box, np.float32), bool(flip))  # type: ignore[arg-type]
        parts = pixels._asdict() if isinstance(pixels, Canvas) else {"inputs": pixels}
        return {**parts, "record": record}

    def _show(self, index: int, seed: int) -> tuple[int, Shown]:
        for shown in chain(range(index, len(self)), range(index)):
            if self._unreadable[shown]:
                continue
            try:
                if self._opened is None or self._opened[0] != shown:
                    self._opened = shown, self.open(shown)
                image = self._opened[1]
                if self.augment == "device":
                    assert isinstance(image, StoredImage)  # `check_augment`
                    image = Unresized(image)
                return shown, self._transform_now()(image, Random(seed))
            except UnreadableImage as error:
                self._note_unreadable(shown, str(error))
        raise UserError(f"no image is readable, the last one tried is {printable(self.name(shown))}")

    def _note_unreadable(self, index: int, reason: str) -> None:
        self._unreadable[index] = 1
        count = int(self._unreadable.count_nonzero())
        if count > self.max_corrupt:
            raise UserError(
                f"more than max_corrupt={self.max_corrupt} images cannot be read, the last is "
                f"{printable(self.name(index))} ({reason}): repair or remove them, or raise max_corrupt of the data set"
            )
        print_log(
            f"image {printable(self.name(index))} cannot be read ({reason}), the next one takes its place; "
            f"{count} so far, limit max_corrupt={self.max_corrupt}",
            logger="current",
            level=logging.ERROR,  # mmengine shows nothing less of ranks other than 0
        )


@DATASETS.register_module()
class ImageFolder(PretrainImages):
    """Image files of one or several folders at any depth, or of a list.

    No class folders are needed. For ImageNet, `root` is its `train` folder.

    Args:
        root: folder, or a sequence of folders; not needed when a list gives absolute paths.
        list_file: use these images instead of all in the folder: one path a line, absolute or relative to `root`.
        extensions: endings of image files, in any case; the content decides how a file is read.
        num_images: use so many of them, evenly spaced in their sorted order, so every class folder gives its share.

    Raises:
        UserError: no images, fewer than `num_images`, or listed ones that do not exist.
    """

    def __init__(
        self,
        transform: dict,
        root: str | Sequence[str] | None = None,
        list_file: str | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        num_images: int | None = None,
        seed: int | None = None,
        max_corrupt: int = 10,
        decoder: str = "auto",
        in_chans: int = RGB,
        augment: str = "host",
    ):
        if extensions == EXTENSIONS and _reads_bands(decoder, in_chans):
            extensions = BAND_EXTENSIONS
        if root is None and list_file is None:
            raise UserError("ImageFolder: neither `root` nor `list_file` is set (train_dataloader.dataset.root)")
        self.left_out: list[str] = []  # lines about what is not read
        roots = [os.path.expanduser(r) for r in ([root] if isinstance(root, str) else root or [""])]
        if list_file is not None:
            if len(roots) > 1:
                raise UserError(
                    f"ImageFolder: got list_file and {len(roots)} roots, expected one root that its paths are "
                    "relative to"
                )
            self.root, self.kind = roots[0], "list"
            paths = read_list(os.path.expanduser(list_file), self.root)
        elif len(roots) == 1:
            self.root = roots[0]
            paths = find_images(self.root, extensions, self.left_out)
        else:
            self.root = ""
            found = {r: find_images(r, extensions, self.left_out) for r in roots}
            paths = [os.path.join(os.fsencode(r), path) for r in roots for path in found[r]]
        if num_images is not None:
            paths = [paths[i] for i in _spread(num_images, len(paths), "ImageFolder")]
        self.paths = PathTable(paths)
        super().__init__(transform, seed, max_corrupt, decoder, in_chans, augment)

    def __len__(self) -> int:
        return len(self.paths)

    def open(self, index: int) -> StoredImage | BandsImage:
        return self.decode(read_regular(self.name(index)))

    def name(self, index: int) -> str:
        return os.path.join(self.root, self.paths[index])


@DATASETS.register_module()
class ImageSource(PretrainImages):
    """Stored images of any source: a folder, tar shards, zip, parquet, a saved Hugging Face data set, a list of paths.

    Args:
        source: what `mimtransfer.datasets.sources.recognise.open_source` reads.
        root: taken where no `source` is given, so that `type` alone turns a config of `ImageFolder` into this.
        split: of a saved `DatasetDict`.
        num_images: use so many, evenly spaced.

    Raises:
        UserError: nothing is there, it cannot be read, or there are fewer images than `num_images`.
    """

    def __init__(
        self,
        transform: dict,
        source: str | None = None,
        split: str = "train",
        root: str | None = None,
        num_images: int | None = None,
        seed: int | None = None,
        max_corrupt: int = 10,
        decoder: str = "auto",
        in_chans: int = RGB,
        augment: str = "host",
    ):
        source = root if source is None else source
        if not isinstance(source, str):
            raise UserError(f"ImageSource: got source={source!r}, expected a path (train_dataloader.dataset.source)")
        self.source = open_source(
            source, split=split, extensions=BAND_EXTENSIONS if _reads_bands(decoder, in_chans) else EXTENSIONS
        )
        self.kind = self.source.kind
        self.root = source if os.path.isdir(source) else os.path.dirname(source)
        total = len(self.source)
        # A range costs no memory, whatever its length.
        self.numbers = range(total) if num_images is None else _spread(num_images, total, "ImageSource")
        super().__init__(transform, seed, max_corrupt, decoder, in_chans, augment)

    def __len__(self) -> int:
        return len(self.numbers)

    def open(self, index: int) -> StoredImage | BandsImage:
        number = int(self.numbers[index])
        if self.decode is TurboImage:
            return TurboImage(self.source.open(number))
        return self.decode(self.source.read(number))

    def name(self, index: int) -> str:
        return self.source.name(int(self.numbers[index]))


def _reads_bands(decoder: str, in_chans: int) -> bool:
    return decoder == "bands" or in_chans != RGB


def _spread(count: int, total: int, name: str) -> np.ndarray:
    """Return so many numbers below `total`, evenly spaced. Raises: UserError, there are fewer."""
    if not 0 < count <= total:
        raise UserError(f"{name}: got num_images={count}, expected 1 to {total}, all there are")
    return np.arange(count) * total // count
