"""Where an augmented image came from: enough to replay its crop and flip on any map of the whole image."""
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.datasets.sampler import sample_seed

__all__ = ["AugRecord", "StoredRecord", "crop_maps", "sample_seed", "send"]


class AugRecord(NamedTuple):
    """The augmentation of an image. A data set gives it without the batch dimension; a collate function stacks it.

    The box is in the frame of the upright image (EXIF orientation applied), from edge to edge: (0, 0, 1, 1) is the
    whole image, and pixel i of n covers [i/n, (i+1)/n].
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index; [B] int64, number of the image in the training set
    seed: Tensor  # [B] int64 >= 0, from (run seed, epoch, index): all randomness of this sample
    box: Tensor  # [B, 4] float32, y0 x0 y1 x1 of the crop as fractions of the full image
    flip: Tensor  # [B] bool, left-right, after the crop

    def __reduce__(self) -> tuple:
        """Go from a loader's worker to the run as bytes: torch would pass each of these small tensors as a file."""
        return _from_arrays, tuple(field.numpy() if isinstance(field, Tensor) else field for field in self)


def _from_arrays(*fields: Any) -> AugRecord:
    # Some collate functions make lists of the fields; an error here would be lost in a thread of the queue.
    return AugRecord(*(torch.from_numpy(field) if isinstance(field, np.ndarray) else field for field in fields))


class StoredRecord(NamedTuple):
    """An `AugRecord` with what is stored for its images, looked up before the batch goes to the device: there, the
    numbers of the images could only be read back by waiting for it.
    """

    index: Tensor  # type: ignore[assignment]
    seed: Tensor
    box: Tensor
    flip: Tensor
    maps: Tensor | None  # [B, h, w] float16, of the strategy's bank; None where it has none
    ids: Tensor | None  # [B, h, w] int64, of `StoredTokens`; None where codes are computed


def send(rows: Tensor, device: torch.device | str) -> Tensor:
    """Bring a small tensor of the host to a device; the host does not wait for the copy."""
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        rows = rows.pin_memory()
    return rows.to(device, non_blocking=True)


def crop_maps(maps: Tensor, record: AugRecord, grid: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Replay the crops and flips of a batch on maps of the whole images, so that each map lies on its augmented image.

    A map divides the whole image into h x w equal cells; a value belongs to the centre of its cell. In the half cell
    between the outermost centres and the border a map stays constant. Maps are read at the centres of the new cells,
    without a low-pass filter, so a map should not be finer than the new cells (with h x w = h' x w' it never is, since
    a crop is never larger than its image).

    Args:
        maps: [B, h, w] any real dtype, on the device of the record.
        grid: (h', w') of the augmented image, for example its patch grid.
        mode: `bilinear` for weights, `nearest` for labels.

    Returns:
        [B, h', w'], float32 if bilinear, the dtype of `maps` if nearest.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"got mode {mode!r}, expected 'bilinear' or 'nearest'")
    if maps.dim() != 3 or len(maps) != len(record.box):
        raise ValueError(f"got maps {list(maps.shape)}, expected [{len(record.box)}, h, w]: one for each record")
    rows, columns = grid
    y0, x0, y1, x1 = record.box.float()[:, :, None].unbind(1)  # [B, 1] each
    v = (torch.arange(rows, device=maps.device) + 0.5) / rows  # [h'], new centres as fractions of the crop
    u = (torch.arange(columns, device=maps.device) + 0.5) / columns  # [w']
    # Column u of a flipped image shows column 1 - u of its crop.
    u = torch.where(record.flip[:, None], 1 - u, u)  # [B, w']
    y = (y0 + v * (y1 - y0))[:, :, None].expand(-1, -1, columns)  # [B, h', w'], fractions of the whole image
    x = (x0 + u * (x1 - x0))[:, None, :].expand(-1, rows, -1)
    # align_corners=False: -1 and 1 are the outer edges of the map, as 0 and 1 are those of the image.
    where = 2 * torch.stack([x, y], dim=-1) - 1  # [B, h', w', 2]
    cropped = F.grid_sample(maps[:, None].float(), where, mode=mode, padding_mode="border", align_corners=False)[:, 0]
    return cropped if mode == "bilinear" else cropped.to(maps.dtype)
