"""MapBank: one small half-precision map for each training image."""
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from mimtransfer.errors import UserError


class MapBank:
    """Maps of whole images, [n, h, w], by image number; what they mean is the strategy's business.

    In a file they are one `.npy` array of float16, mapped into memory: 1.28 M images x 14 x 14 x 2 B = 0.50 GB on disk,
    which all ranks of a node share; the pages that were read lie in the system's cache once. Only training processes
    read it, loader workers never do.

    Args:
        maps: [n, h, w] any real dtype, for a bank in memory.
    """

    def __init__(self, maps: np.ndarray | Tensor):
        self._maps = maps.cpu().numpy() if isinstance(maps, Tensor) else maps
        self.num_images, *grid = self._maps.shape
        self.grid = tuple(grid)

    @classmethod
    def create(cls, path: str | Path, num_images: int, grid: tuple[int, int]) -> "MapBank":
        """Make a file of zeros and open it for writing; called by all ranks, made by the first."""
        if is_main_process():
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(num_images, *grid)).flush()
        barrier()
        return cls.open(path, mode="r+")

    @classmethod
    def open(cls, path: str | Path, mode: str = "r") -> "MapBank":
        """Open a file.

        Raises:
            UserError: it is not there, or not a bank.
        """
        try:
            maps = np.load(path, mmap_mode=mode)
        except FileNotFoundError as error:
            raise UserError(f"map bank {path}: no such file; all machines of a run need one folder for it that they "
                            "share, set the hook's `folder`") from error
        except (OSError, ValueError) as error:
            raise UserError(f"map bank {path} cannot be read ({error}); remove it, and the maps are measured "
                            "again") from error
        if maps.ndim != 3:
            raise UserError(f"map bank {path}: got an array {list(maps.shape)}, expected [images, h, w]")
        return cls(maps)

    def read(self, index: Tensor) -> Tensor:
        """Return the maps of some images, [B, h, w] float32 on the device of `index` [B] int64."""
        rows = torch.from_numpy(self._maps[index.cpu().numpy()])
        return rows.to(index.device, non_blocking=True).float()

    def write(self, index: Tensor, maps: Tensor) -> None:
        """Store maps [B, h, w] of images `index` [B] int64; both may be on any device."""
        self._maps[index.cpu().numpy()] = maps.float().cpu().numpy()

    def flush(self) -> None:
        """Bring everything written to the file."""
        if isinstance(self._maps, np.memmap):
            self._maps.flush()
