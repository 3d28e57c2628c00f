"""How many channels images have: what is allowed, and the first convolution of a checkpoint for another number of them.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mimtransfer.errors import UserError

if TYPE_CHECKING:  # the tools that read images only have no need of torch
    from torch import Tensor

RGB = 3
MOST = 16


def check_in_chans(name: str, in_chans: Any) -> None:
    """Refuse what is no number of channels.

    Args:
        name: of the class that is given it.

    Raises:
        UserError: it is no integer from 1 to 16.
    """
    if type(in_chans) is not int or not 1 <= in_chans <= MOST:
        raise UserError(f"{name}: got in_chans={in_chans!r}; expected an integer, 1 to {MOST}")


def check_channels(name: str, images: Tensor, in_chans: int) -> None:
    """Refuse a batch, [B, C, H, W], of another number of channels than the backbone was built for.

    Raises:
        UserError: C is not `in_chans`.
    """
    if images.shape[1] != in_chans:
        raise UserError(f"{name} got images of {images.shape[1]} channels, expected {in_chans}"
                        f"{' (RGB)' if in_chans == RGB else ''}; set in_chans={images.shape[1]} at the top of the "
                        "config, or read other images")


def stem_of(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the convolution that reads the image: the first kernel of a backbone."""
    return next((name for name, value in state.items() if value.ndim == 4 and name.endswith("weight")), None)


def fit_channels(kernel: Tensor, in_chans: int) -> tuple[Tensor, str]:
    """Bring the kernel of a stem to another number of channels, so that what it makes of grey images stays the same.

    With fewer channels, channel k of the file is added to channel k modulo `in_chans`: RGB becomes grey by the sum of
    its three. With more they are repeated in their order, each divided by how often it occurs. In both cases an image
    whose channels are all alike gives the same tokens as before.

    Args:
        kernel: [D, C, h, w].

    Returns:
        [D, in_chans, h, w], and what was done, for the load report.
    """
    old = kernel.shape[1]
    if old > in_chans:
        fitted = kernel.new_zeros(kernel.shape[0], in_chans, *kernel.shape[2:])
        for channel in range(old):
            fitted[:, channel % in_chans] += kernel[:, channel]
        return fitted, f"{old} channels summed to {in_chans}"
    source = [channel % old for channel in range(in_chans)]
    shares = kernel.new_tensor([1 / source.count(channel) for channel in source])
    return kernel[:, source] * shares[:, None, None], f"{old} channels repeated to {in_chans}"
