"""The 15 corruptions of ImageNet-C and CIFAR-10-C, computed on the images as they come, on their device.

    parameters.py   how strong each is at which severity and image size
    resampling.py   blurring, zooming, sampling: what the others share
    noise.py        gaussian_noise, shot_noise, impulse_noise
    blur.py         defocus_blur, glass_blur, motion_blur, zoom_blur
    weather.py      snow, frost, fog
    digital.py      brightness, contrast, elastic_transform, pixelate, jpeg_compression

Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261. Departures from the code behind the published files: frost is
drawn unless its photographs are at hand; random numbers are others; images need not be square.
"""
import torch
from torch import Tensor

from mimtransfer.draws import SampleGenerator, mix
from mimtransfer.evaluation.robustness.common_corruptions import blur, digital, noise, weather
from mimtransfer.evaluation.robustness.common_corruptions.parameters import NAMES, nominal_size, strength

_FUNCTIONS = {name: getattr(module, name) for module in (noise, blur, weather, digital) for name in NAMES
              if hasattr(module, name)}


class Corruptions:
    """Corrupt images: what an image becomes is a function of its pixels, the corruption, its severity and the seed.

    Neither order nor batch, worker or rank plays a part. On other devices values may round to the neighbouring one.

    Args:
        seed: of all random numbers.
        parameters: 32, 64 or 224: whose settings; by default told from the size of the images (`nominal_size`).
        frost_pictures: folder of the photographs of frost; by default frost is drawn.
        jpeg_quality: write and read each corrupted image as JPEG of this quality, as ImageNet-C's files are (85).
    """

    def __init__(
        self, seed: int = 0, parameters: int | None = None, frost_pictures: str | None = None,
        jpeg_quality: int | None = None,
    ):
        self.seed, self.parameters, self.jpeg_quality = seed, parameters, jpeg_quality
        self.frost = weather.read_frost(frost_pictures) if frost_pictures else None

    def __call__(self, images: Tensor, name: str, severity: int) -> Tensor:
        """Return corrupted images [B, 3, H, W] uint8.

        Args:
            images: [B, 3, H, W] uint8, RGB.
            name: one of `NAMES`.
            severity: 1 to 5.
        """
        kind = NAMES.index(name) * 8 + severity
        generator = SampleGenerator(mix(content_hash(images) + (self.seed * 256 + kind)))
        return self.apply(images, name, severity, generator)

    @torch.no_grad()
    def apply(self, images: Tensor, name: str, severity: int, generator: SampleGenerator) -> Tensor:
        """Return corrupted images as `__call__` does, with these random numbers."""
        values = strength(name, severity, self.parameters or nominal_size(*images.shape[-2:]))
        extra = {"pictures": self.frost or weather.drawn_frost()} if name == "frost" else {}
        # TF32 would be wrong by a quarter of a level.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            x = _FUNCTIONS[name](images.float() / 255, generator, *values, **extra)
        # The published images are cut to whole levels, not rounded; a thousandth for single precision.
        x = (x.clamp(0, 1) * 255 + 1e-3).floor()
        if self.jpeg_quality is not None:
            x = (digital.jpeg_compression(x / 255, None, self.jpeg_quality) * 255).round()
        return x.byte()


def content_hash(images: Tensor) -> Tensor:
    """Return a number [B] int64 for each image [B, C, H, W] uint8, from its pixels."""
    pixels = images.flatten(1).long() + 1
    return mix((pixels * mix(torch.arange(pixels.shape[1], device=images.device))).sum(1))


__all__ = ["NAMES", "Corruptions", "content_hash"]
