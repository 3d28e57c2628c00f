"""How the pixels of one box come out of an image file: one interface, the reference `pillow`, the fast `turbo`,
and `bands` for images that are not RGB of 8 bits.

All show the same boxes; `turbo`'s pixels differ from Pillow's by its rounding. A data set says `decoder='auto'`.
"""
from collections.abc import Callable
from functools import partial

from mimtransfer.checkpoints.channels import RGB, check_in_chans
from mimtransfer.errors import UserError, near_matches
from pretrain.data.decoding import turbo
from pretrain.data.decoding.bands import BandsImage
from pretrain.data.decoding.pillow import StoredImage, UnreadableImage
from pretrain.data.decoding.turbo import TurboImage

__all__ = ["BandsImage", "StoredImage", "TurboImage", "UnreadableImage", "choose_decoder"]

_DECODERS = {"pillow": StoredImage, "turbo": TurboImage}


def choose_decoder(name: str = "auto", in_chans: int = RGB) -> Callable[[bytes], StoredImage | BandsImage]:
    """Return the class that opens stored images.

    Args:
        name: pillow, turbo, bands, or auto: turbo where its package is installed, and bands for other than 3 channels.
        in_chans: channels of the images.

    Raises:
        UserError: another name, a package that is missing, or a number of channels that the decoder does not give.
    """
    check_in_chans("decoder", in_chans)
    if name == "bands" or (name == "auto" and in_chans != RGB):
        return partial(BandsImage, in_chans=in_chans)
    if name == "auto":
        name = "turbo" if turbo.decode_jpeg else "pillow"
    if name not in _DECODERS:
        raise UserError(f"decoder {name!r} is unknown; {near_matches(name, ['auto', 'bands', *_DECODERS])}")
    if name == "turbo" and not turbo.decode_jpeg:
        raise UserError("decoder='turbo' needs simplejpeg: pip install simplejpeg, or take decoder='pillow'")
    if in_chans != RGB:
        raise UserError(f"decoder={name!r} gives 3 channels (RGB), not in_chans={in_chans}; leave `decoder` out")
    return _DECODERS[name]
