"""Deblurring, a sibling of frequency masking (MFM, arXiv 2206.07706, sec. 3.4): images blurred by random kernels.

The families of kernels are those of Real-ESRGAN (Wang et al., ICCVW 2021, arXiv 2107.10833, sec. 3.2 and 3.4), which
the released code of MFM takes over: with the Mahalanobis distance m^2 = x^T S^-1 x of a pixel x from the middle,

    (generalised) Gaussian  exp(-(m^2)^beta / 2)
    plateau                 1 / (1 + (m^2)^beta)
    sinc                    omega J1(omega |x|) / (2 pi |x|), the ideal low-pass of cut-off omega

each cut to a square and divided by its sum. Shape and width come from the sample's generator, one kernel a sample.
"""
import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS
from pretrain.corruptions.base import Corruption

_KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc")
Range = tuple[float, float]


def gaussian_kernels(distance: Tensor, beta: Tensor) -> Tensor:
    """Return exp(-(m^2)^beta / 2), not yet normalised, of m^2 [B, k, k] and beta [B, 1, 1]."""
    return (-0.5 * distance**beta).exp()


def plateau_kernels(distance: Tensor, beta: Tensor) -> Tensor:
    """Return 1 / (1 + (m^2)^beta), not yet normalised, of m^2 [B, k, k] and beta [B, 1, 1]."""
    return 1 / (1 + distance**beta)


def sinc_kernels(radius: Tensor, omega: Tensor) -> Tensor:
    """Return the circular low-pass, not yet normalised, of radius [k, k] in pixels and cut-off omega [B, 1, 1]."""
    middle = omega**2 / (4 * math.pi)
    outside = omega * torch.special.bessel_j1(omega * radius) / (2 * math.pi * radius.clamp_min(1))
    return torch.where(radius > 0, outside, middle)


def mahalanobis(x: Tensor, y: Tensor, sigma_x: Tensor, sigma_y: Tensor, angle: Tensor) -> Tensor:
    """Return m^2 [B, k, k] of points x, y [k, k] for stds and a rotation in radians, all [B, 1, 1]."""
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def filter_each(images: Tensor, kernels: Tensor) -> Tensor:
    """Correlate each image with its own kernel, mirrored at the border without repeating the outermost pixel.

    By FFT: as fast as a grouped convolution, and never in TF32.

    Args:
        images: [B, C, H, W] float32, H and W more than half of k.
        kernels: [B, k, k] float32, k odd.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (kernels.shape[-1] // 2,) * 4, mode="reflect")
    size = [-(-side // 32) * 32 for side in padded.shape[-2:]]  # without large prime factors
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size).conj()[:, None]
    return torch.fft.irfft2(spectrum, s=size)[..., :height, :width]


@CORRUPTIONS.register_module()
class Blur(Corruption):
    """Blur each image by a kernel of its own.

    The defaults are the released deblurring configs. The released code's general setting, which none of them uses, is
    Real-ESRGAN's mixture with stds of 0.2 to 3: kernels=dict(iso=0.405, aniso=0.225, generalized_iso=0.108,
    generalized_aniso=0.027, plateau_iso=0.108, plateau_aniso=0.027, sinc=0.1).

    Args:
        kernels: kind of kernel -> weight in the draw; isotropic Gaussians when not given.
        sizes: sides of the kernels in pixels, odd; one is drawn uniformly. A narrow one cuts a wide Gaussian off: at
            sigma 5 and side 7 it is nearly a box.
        sigma_x, sigma_y: ranges of the std along the axes in pixels; iso kinds use sigma_x alone.
        angle: range of the rotation of aniso kinds, in radians.
        beta_gaussian, beta_plateau: ranges of the shape of generalized and plateau kinds. As in the released code, the
            shape is uniform between 1 and a number drawn from the range, so that most are near 1.
        omega: range of the cut-off of sinc, in radians; None draws from pi/3 to pi below a side of 13, from pi/5 else.

    Raises:
        UserError: unknown kinds, sizes or ranges that make no kernel; from the first step, images that are too small.
    """

    def __init__(
        self,
        kernels: Mapping[str, float] | None = None,
        sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21),
        sigma_x: Range = (5.0, 5.0),
        sigma_y: Range = (5.0, 5.0),
        angle: Range = (-math.pi, math.pi),
        beta_gaussian: Range = (0.5, 4.0),
        beta_plateau: Range = (1.0, 2.0),
        omega: Range | None = None,
    ):
        kernels = {"iso": 1.0} if kernels is None else dict(kernels)
        unknown = sorted(set(kernels) - set(_KINDS))
        if unknown or not kernels or min(kernels.values()) < 0 or sum(kernels.values()) <= 0:
            raise UserError(f"Blur: got kernels={kernels}; expected weights of kinds out of {', '.join(_KINDS)}")
        if not sizes or any(size < 1 or size % 2 == 0 for size in sizes):
            raise UserError(f"Blur: got sizes={tuple(sizes)}; expected odd numbers of pixels")
        ranges = dict(sigma_x=sigma_x, sigma_y=sigma_y, beta_gaussian=beta_gaussian, beta_plateau=beta_plateau)
        if omega is not None:
            ranges["omega"] = omega
        for name, (low, high) in ranges.items():
            if not 0 < low <= high:
                raise UserError(f"Blur: got {name}={(low, high)}; expected a range of positive numbers")
        self.kinds, self.sizes = list(kernels), tuple(sizes)
        weights = np.array(list(kernels.values()), dtype=np.float64)  # a model may be built on the meta device
        # Where one kind ends and the next begins, in (0, 1).
        self.shares = (weights / weights.sum()).cumsum(0)[:-1].tolist()
        self.sigma_x, self.sigma_y, self.angle = sigma_x, sigma_y, angle
        self.beta_gaussian, self.beta_plateau, self.omega = beta_gaussian, beta_plateau, omega

    def __call__(self, images: Tensor, generator: SampleGenerator) -> tuple[Tensor, None]:
        """Blur a batch; see `Corruption.__call__`."""
        largest = max(self.sizes)
        if min(images.shape[-2:]) <= largest // 2:
            raise UserError(
                f"Blur: got images of {images.shape[-2]} x {images.shape[-1]} pixels and kernels of up to {largest}; "
                "expected images larger than half a kernel: set smaller sizes"
            )
        return filter_each(images, self.draw_kernels(generator).to(images.dtype)), None

    def draw_kernels(self, generator: SampleGenerator) -> Tensor:
        """Draw kernels [B, k, k] float32 of the largest size, 0 outside of each sample's own, each with the sum 1."""
        draws = generator.uniform(8)[..., None, None].double()  # [B, 8, 1, 1]; kernels are small: in float64
        device, side = draws.device, max(self.sizes)
        kind = torch.zeros_like(draws[:, 0], dtype=torch.int64)  # of numbers alone: a table would have to be uploaded
        for share in self.shares:
            kind += draws[:, 0] > share
        size, place = torch.full_like(kind, self.sizes[0]), (draws[:, 1] * len(self.sizes)).long()
        for number, (before, after) in enumerate(pairwise(self.sizes), start=1):
            size += (place >= number) * (after - before)
        sigma_x, sigma_y = _between(self.sigma_x, draws[:, 2]), _between(self.sigma_y, draws[:, 3])
        angle = _between(self.angle, draws[:, 4])
        betas = {  # drawn twice, see the class
            "generalized": 1 + (_between(self.beta_gaussian, draws[:, 5]) - 1) * draws[:, 6],
            "plateau": 1 + (_between(self.beta_plateau, draws[:, 5]) - 1) * draws[:, 6],
        }
        lowest = torch.where(size < 13, math.pi / 3, math.pi / 5)
        omega = _between(self.omega or (lowest, math.pi), draws[:, 7])

        axis = torch.arange(side, device=device, dtype=torch.float64) - side // 2
        x, y = axis[None, :], axis[:, None]
        kernels = torch.zeros(len(draws), side, side, device=device, dtype=torch.float64)
        for number, name in enumerate(self.kinds):
            family, _, shape = name.rpartition("_")
            if name == "sinc":
                values = sinc_kernels((x**2 + y**2).sqrt(), omega)
            else:
                is_round = shape == "iso"
                distance = mahalanobis(x, y, sigma_x, sigma_x if is_round else sigma_y, angle * (not is_round))
                make = plateau_kernels if family == "plateau" else gaussian_kernels
                values = make(distance, betas.get(family, torch.ones_like(angle)))
            kernels = torch.where(kind == number, values, kernels)
        kernels = kernels * (torch.maximum(x.abs(), y.abs()) <= size // 2)
        return (kernels / kernels.sum((1, 2), keepdim=True)).float()


def _between(bounds: tuple[float | Tensor, float], draw: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * draw
