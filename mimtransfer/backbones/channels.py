"""The three channels of an RGB image, which all backbones take so far: others are refused in one line."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimtransfer.errors import UserError

CHANNELS = 3


def check_in_chans(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a backbone or of timm that ask for another number of channels.

    Args:
        name: of the backbone's class.

    Raises:
        UserError: `in_chans` is not 3.
    """
    in_chans = arguments.get("in_chans", CHANNELS)
    if in_chans != CHANNELS:
        raise UserError(f"in_chans={in_chans!r} of {name}: images of {CHANNELS} channels (RGB) only are supported so "
                        f"far; leave in_chans out and convert the images to RGB")


def check_channels(name: str, images: Tensor) -> None:
    """Refuse a batch, [B, C, H, W], of another number of channels.

    Raises:
        UserError: C is not 3.
    """
    if images.shape[1] != CHANNELS:
        raise UserError(f"{name} got images of {images.shape[1]} channels, expected {CHANNELS} (RGB), others are not "
                        f"supported so far; convert the images, or let the pipeline read them with color_type='color'")
