"""MapBank: one small half-precision map for each training image."""
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.files import reserve_space
from mimtransfer.stored import open_array
from pretrain.aug_record import send

_CHUNK = 1 << 14  # images


class MapBank:
    """Maps of whole images, [n, h, w], by image number; what they mean is the strategy's business.

    In a file they are one `.npy` array of float16, mapped into memory for reading: 1.28 M images x 14 x 14 x 2 B =
    0.50 GB on disk, which all ranks share; the pages that were read lie in each machine's cache once. Only training
    processes read it, loader workers never do.

    Args:
        maps: [n, h, w] any real dtype, for a bank in memory.
    """

    def __init__(self, maps: np.ndarray | Tensor):
        self._maps = maps.cpu().numpy() if isinstance(maps, Tensor) else maps
        self.num_images, *grid = self._maps.shape
        self.grid = (grid[0], grid[1])

    @classmethod
    def create(cls, path: str | Path, num_images: int, grid: tuple[int, int]) -> "MapBank":
        """Make a file of zeros, in place of any that is there; called by all ranks, made by the first."""
        if is_main_process():
            Path(path).unlink(missing_ok=True)  # who still reads the old file keeps it
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(num_images, *grid))
            reserve_space(path)
        barrier()
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, num_images: int | None = None, grid: tuple[int, int] | None = None) -> "MapBank":
        """Open a file.

        Args:
            num_images, grid: that it must be of; None: any.

        Raises:
            UserError: it is not there, or not a bank, or of other images.
        """
        return cls(open_array(
            path, "map bank", np.float16, (num_images, *(grid or (None, None))),
            "remove it, and the maps are measured again",
            "all machines of a run need one folder for it that they share, set the hook's `folder`",
        ))  # fmt: skip

    def check_finite(self) -> None:
        """Refuse maps that hold NaN, which no patch could be drawn by.

        Raises:
            UserError: they do.
        """
        for first in range(0, self.num_images, _CHUNK):
            if not np.isfinite(self._maps[first : first + _CHUNK]).all():
                raise UserError(f"map bank {getattr(self._maps, 'filename', 'in memory')}: maps of images {first} to "
                                f"{first + _CHUNK - 1} hold NaN or infinity; remove it and resume from an earlier "
                                "checkpoint")

    def read(self, index: Tensor) -> Tensor:
        """Return the maps of some images, [B, h, w] float32 on the device of `index` [B] int64."""
        return send(self.rows(index.cpu()), index.device).float()

    def rows(self, index: Tensor) -> Tensor:
        """Return the maps of some images as they are stored, [B, h, w] float16, of `index` [B] int64 on the CPU."""
        return torch.from_numpy(self._maps[index.numpy()])

    def write(self, index: Tensor, maps: Tensor) -> None:
        """Store maps [B, h, w] of images `index` [B] int64; both may be on any device."""
        rows = maps.half().cpu().numpy()
        if not isinstance(self._maps, np.memmap):
            self._maps[index.cpu().numpy()] = rows
            return
        # Not through memory, which writes whole pages: those hold rows of other machines. And a full disk would kill
        # the process without a word.
        assert self._maps.filename is not None
        with open(self._maps.filename, "r+b", buffering=0) as file:
            for number, row in zip(index.tolist(), rows):
                file.seek(self._maps.offset + number * row.nbytes)
                file.write(row.tobytes())

    def flush(self) -> None:
        """Bring what this machine wrote to the disk; nothing to do for a bank in memory."""
        if not isinstance(self._maps, np.memmap):
            return
        assert self._maps.filename is not None
        with open(self._maps.filename, "r+b") as file:
            os.fsync(file.fileno())
