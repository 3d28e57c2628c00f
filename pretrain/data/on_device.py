"""`augment='device'`: a worker cuts the crop out of an image and leaves resizing and flipping to the training device.

The worker's half is `Unresized`, which stands before a stored image in the place of its resize: the pixels of the crop
lie in the upper left corner of a canvas, whose sides are twice those of the result, so every batch has one shape. A
crop that is too large for it is decoded at 1/2, 1/4 or 1/8 of its size, if that is still half as large again as the
result; else (also of rotated photographs) the worker resizes it as ever, and the device only flips it.

The device's half is `resize_crops`: antialiased bicubic resizing of all crops of a batch by two matrix products.
Record, seeds and order are the same as on the host.
"""
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from PIL import Image
from torch import Tensor

from pretrain.data.decoding import StoredImage

CANVAS = 2  # its sides over those of the result; the device reads the size of the result from it
# A JPEG file decoded at a part of its size is not what bicubic antialiasing gives. With so many times the pixels wanted
# left on each side, real photographs differ by 0.3 grey levels in the mean; with 1.2 times by 1.2, with as many by 1.7.
_LEFT = 1.5


class Canvas(NamedTuple):
    """A crop as the worker hands it on; its fields become those of the sample."""

    inputs: Tensor  # [2 H, 2 W, 3] uint8, zero beside the crop
    crop: Tensor  # [4] float32, top left bottom right of what is shown, in pixels of the canvas


class Unresized:
    """An opened image whose boxes come out at the size that they have in the file, not resized and not flipped."""

    def __init__(self, image: StoredImage):
        self._image = image
        self.height, self.width = image.height, image.width

    def pixels(
        self, box: tuple[int, int, int, int], size: tuple[int, int], filter: Image.Resampling, flip: bool = False
    ) -> Canvas:
        """Put a box on a canvas. Arguments are those of `StoredImage.pixels`; the device flips.

        Raises:
            UnreadableImage: the pixels cannot be decoded.
        """
        height, width = (CANVAS * side for side in size)
        found = self._image.cut(box, least=(_LEFT * size[0], _LEFT * size[1]), most=(height, width))
        if found is None:
            found = self._image.pixels(box, size, filter).permute(1, 2, 0).numpy(), (0, 0, *size)
        cut, edges = found
        rows, columns = cut.shape[:2]
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:rows, :columns] = cut
        canvas[:rows, columns:] = 0
        canvas[rows:] = 0
        return Canvas(torch.from_numpy(canvas), torch.tensor(edges, dtype=torch.float32))


def finish_crops(preprocessor: BaseDataPreprocessor, args: tuple) -> tuple | None:
    """Resize and flip a batch of canvases on the device: a forward pre-hook of mmengine's preprocessor, which
    normalises. Batches without canvases stay as they are.
    """
    if not isinstance(args[0], Mapping) or "crop" not in args[0]:
        return None
    batch: Any = preprocessor.cast_data(args[0])  # to the device
    images = resize_crops(batch["inputs"], batch.pop("crop"), batch["record"].flip)
    return {**batch, "inputs": images}, *args[1:]


@torch.no_grad()
def resize_crops(canvas: Tensor, crop: Tensor, flip: Tensor) -> Tensor:
    """Resize crops to half the sides of their canvas, by bicubic interpolation with antialiasing, and flip them.

    Shapes are those of the canvas alone and nothing is read back, so the host waits for nothing.

    Args:
        canvas: [B, 2 H, 2 W, 3] uint8, the pixels of a crop in its upper left corner.
        crop: [B, 4] float32, top left bottom right of what is shown, in pixels of the canvas.
        flip: [B] bool, left-right.

    Returns:
        [B, 3, H, W] uint8, rounded as on the host.
    """
    batch, tall, wide, channels = canvas.shape
    height, width = tall // CANVAS, wide // CANVAS
    top, left, bottom, right = crop.unbind(1)
    rows = bicubic_weights(top, bottom, tall, height)
    columns = bicubic_weights(left, right, wide, width)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(canvas.device.type, enabled=False):  # bfloat16 has too few bits for the weights
        low = rows @ canvas.float().view(batch, tall, wide * channels)  # [B, H, 2 W * 3]
        low = low.view(batch, height, wide, channels).permute(0, 3, 1, 2).reshape(batch, channels * height, wide)
        shown = low @ columns.mT  # [B, 3 * H, W]
    return shown.view(batch, channels, height, width).round_().clamp_(0, 255).to(torch.uint8)  # bicubic rings at edges


def bicubic_weights(start: Tensor, stop: Tensor, length: int, out: int) -> Tensor:
    """Return how much each of `length` pixels adds to each of `out` pixels that divide an interval evenly.

    The kernel is Keys' (1981) with a = -1/2, widened by the reduction, as in Pillow and in torch with antialiasing.
    Pixels from the one in which `stop` lies on do not count.

    Args:
        start, stop: [B] float32, edges of the interval in pixels.

    Returns:
        [B, out, length] float32; each row sums to 1.
    """
    scale = ((stop - start) / out)[:, None]  # pixels for one of the result
    centre = start[:, None] + (torch.arange(out, device=start.device) + 0.5) * scale  # [B, out]
    pixel = torch.arange(length, device=start.device) + 0.5
    x = (pixel - centre[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weights = weights * (pixel < stop.ceil()[:, None])[:, None]
    return weights / weights.sum(2, keepdim=True)
