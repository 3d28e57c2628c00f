"""How the pixels of one box come out of an image file: one interface, the reference `pillow`, the fast `turbo`.

Both show the same boxes; `turbo`'s pixels differ from Pillow's by its rounding. A data set says `decoder='auto'`.
"""
from mimtransfer.errors import UserError, near_matches
from pretrain.data.decoding import turbo
from pretrain.data.decoding.pillow import StoredImage, UnreadableImage
from pretrain.data.decoding.turbo import TurboImage

__all__ = ["StoredImage", "TurboImage", "UnreadableImage", "choose_decoder"]

_DECODERS = {"pillow": StoredImage, "turbo": TurboImage}


def choose_decoder(name: str = "auto") -> type[StoredImage]:
    """Return the class that opens stored images.

    Args:
        name: pillow, turbo, or auto: turbo where its package is installed.

    Raises:
        UserError: another name, or a package that is missing.
    """
    if name == "auto":
        name = "turbo" if turbo.decode_jpeg else "pillow"
    if name not in _DECODERS:
        raise UserError(f"decoder {name!r} is unknown; {near_matches(name, ['auto', *_DECODERS])}")
    if name == "turbo" and not turbo.decode_jpeg:
        raise UserError("decoder='turbo' needs simplejpeg: pip install simplejpeg, or take decoder='pillow'")
    return _DECODERS[name]
