"""Images that are a thousand times as long as wide, or one pixel wide, go through OpenMMLab's code as others do.

mmcv scales the short side of such an image to 0 pixels, which OpenCV refuses, and flips one column of pixels as a view
that numpy calls contiguous though its stride is negative, which torch refuses. mmseg's pyramid for ViTs halves a map
that is one patch wide to nothing.
"""
from functools import wraps
from typing import Any

import mmcv
import mmcv.image
import mmcv.image.geometric
import numpy as np
from torch import nn

_MODULES = (mmcv, mmcv.image, mmcv.image.geometric)


def install() -> None:
    """Replace two functions of mmcv, once."""
    for name, change in (("rescale_size", _to_a_pixel), ("imflip", _in_order)):
        plain = getattr(mmcv.image.geometric, name)
        changed = plain if getattr(plain, "takes_narrow_images", False) else change(plain)
        changed.takes_narrow_images = True
        for module in _MODULES:
            setattr(module, name, changed)


def _to_a_pixel(plain: Any) -> Any:
    @wraps(plain)
    def rescale_size(old_size: tuple, scale: Any, return_scale: bool = False) -> tuple:
        (width, height), factor = plain(old_size, scale, return_scale=True)
        size = max(width, 1), max(height, 1)
        return (size, factor) if return_scale else size

    return rescale_size


def _in_order(plain: Any) -> Any:
    @wraps(plain)
    def imflip(img: np.ndarray, direction: str = "horizontal") -> np.ndarray:
        flipped = plain(img, direction)
        return flipped.copy() if 1 in flipped.shape[:2] else flipped

    return imflip


def pool_narrow_maps(pyramid: Any) -> None:
    """Let mmseg's class `Feature2Pyramid` keep a row or column where pooling would leave none, once."""
    plain = pyramid.forward
    if getattr(plain, "takes_narrow_images", False):
        return

    @wraps(plain)
    def forward(self: nn.Module, inputs: tuple) -> tuple:
        for pool in self.children():
            if isinstance(pool, nn.MaxPool2d):
                # Not by the lesser side: an export with free sizes would have to fix which one it is.
                pool.ceil_mode = any(side < pool.kernel_size for side in inputs[0].shape[-2:])
        return plain(self, inputs)

    forward.takes_narrow_images = True  # type: ignore[attr-defined]
    pyramid.forward = forward
