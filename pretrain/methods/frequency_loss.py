"""Frequency loss of MFM: Xie et al., ICLR 2023, arXiv 2206.07706, eq. 4; its weights are those of the focal frequency
loss (Jiang et al., ICCV 2021, arXiv 2012.12821).

The released code transforms prediction and target to whole complex spectra. Both are real, so half of a spectrum is the
other half's mirror image: here the difference is transformed, once, to half a spectrum, whose bins count twice where
they have a mirror image. The loss is the same.
"""
import torch
from torch import Tensor

from mimtransfer.errors import UserError


class FrequencyLoss:
    """Compare two images by the distance of their spectra (orthonormal transform), (|P - Y|^2 + 1e-12)^(gamma / 2).

    In float32 whatever the inputs' precision is, float64 for float64.

    Args:
        gamma: exponent of the distance, > 0.
        bins: `masked` compares the frequencies that the encoder was not given (all of them where it was given none as
            they are); `all` compares all.
        normalise: `batch` divides by the number of bins compared in the batch, as the released code does: with radius
            16 of 224 pixels a low-pass sample has 49,383 and a high-pass sample 793, so the first weighs 62 times as
            much. `sample` takes the mean of each sample first.
        focal_gamma: None for equal weights (released recipe). A number weighs each distance by itself to this power,
            divided by the largest of its spectrum; weights have no gradient.
        focal_log: take log(1 + weight) before the division.
        focal_batch: divide by the largest of the batch.
        patch_factor: cut images into so many tiles by so many, each with a spectrum of its own.
        average_spectrum: compare the mean spectra of the batch.

    Raises:
        UserError: settings out of range; tiles that do not fit; `bins='masked'` where the bins of tiles are not those
            of the filter.
    """

    def __init__(
        self,
        gamma: float = 1.0,
        bins: str = "masked",
        normalise: str = "batch",
        focal_gamma: float | None = None,
        focal_log: bool = False,
        focal_batch: bool = False,
        patch_factor: int = 1,
        average_spectrum: bool = False,
    ):
        if gamma <= 0:
            raise UserError(f"FrequencyLoss: got gamma={gamma}; expected an exponent above 0")
        if bins not in ("masked", "all"):
            raise UserError(f"FrequencyLoss: got bins={bins!r}; expected 'masked' or 'all'")
        if normalise not in ("batch", "sample"):
            raise UserError(f"FrequencyLoss: got normalise={normalise!r}; expected 'batch' or 'sample'")
        if focal_gamma is None and (focal_log or focal_batch):
            raise UserError("FrequencyLoss: focal_log and focal_batch need weights; expected focal_gamma to be set")
        if patch_factor < 1:
            raise UserError(f"FrequencyLoss: got patch_factor={patch_factor}; expected 1 or more tiles a side")
        self.gamma, self.bins, self.normalise = gamma, bins, normalise
        self.focal_gamma, self.focal_log, self.focal_batch = focal_gamma, focal_log, focal_batch
        self.patch_factor, self.average_spectrum = patch_factor, average_spectrum

    def __call__(self, prediction: Tensor, target: Tensor, kept: Tensor | None) -> Tensor:
        """Return the loss, a scalar.

        Args:
            prediction: [B, C, H, W] float.
            target: same.
            kept: [B, H, W//2+1] bool, bins of `rfft2` that the encoder was given; None: none.
        """
        # The transform is linear: the difference of two spectra is the spectrum of the difference.
        wide = torch.promote_types(prediction.dtype, torch.float32)
        error = self._error(prediction.to(wide) - target.to(wide))
        return SpectralDistance.apply(error, *self._spectrum(error.detach(), kept), self.gamma)

    @torch.no_grad()
    def zero_level(self, target: Tensor, kept: Tensor | None) -> Tensor:
        """Return the loss of a prediction that is 0 in all bins: a scalar, without gradient. A model whose loss stays
        here has learned nothing. `target` and `kept` as above.
        """
        error = self._error(target.to(torch.promote_types(target.dtype, torch.float32)))  # |0 - Y| = |Y|
        _, power, weight = self._spectrum(error, kept)
        return power.pow_(self.gamma / 2).mul_(weight).sum()

    def _error(self, difference: Tensor) -> Tensor:
        """Cut into tiles, [B, C, H, W] -> [B, n, H', W'], and take the mean over the batch where asked for."""
        error = self._tiles(difference)
        return error.mean(0, keepdim=True) if self.average_spectrum else error

    def _spectrum(self, error: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return spectrum, power and weights of the bins; see `SpectralDistance`."""
        spectrum = torch.fft.rfft2(error, norm="ortho")  # [B, n, H', W'//2+1]
        real, imaginary = spectrum.real, spectrum.imag
        power = torch.addcmul(real.new_full((), 1e-12), real, real).addcmul_(imaginary, imaginary)

        bins = mirror_weights(error.shape[-1], error).expand(1, 1, *power.shape[-2:])
        if kept is not None and self.bins == "masked":
            if self.patch_factor > 1:
                raise UserError(
                    f"FrequencyLoss: patch_factor={self.patch_factor} gives tiles with other frequencies than those "
                    "that are masked; expected patch_factor=1 or bins='all'"
                )
            bins = bins * ~kept[:, None]
        bins = bins.expand(max(len(error), len(bins)), -1, -1, -1)
        count = bins.sum((1, 2, 3), keepdim=True)
        count = count.sum() if self.normalise == "batch" else count * len(bins)
        weight = bins / (count * error.shape[1])  # [B, 1, H', W'//2+1]
        if self.average_spectrum:
            weight = weight.sum(0, keepdim=True)
        if self.focal_gamma is not None:
            weight = weight * self._focal_weights(power)
        return spectrum, power, weight

    def _tiles(self, images: Tensor) -> Tensor:
        n, (height, width) = self.patch_factor, images.shape[-2:]
        if height % n or width % n:
            raise UserError(
                f"FrequencyLoss: got images of {height} x {width} pixels and patch_factor={n}; expected a multiple"
            )
        tiles = images.unflatten(3, (n, width // n)).unflatten(2, (n, height // n))  # [B, C, n, H', n, W']
        return tiles.transpose(3, 4).flatten(1, 3)

    def _focal_weights(self, power: Tensor) -> Tensor:
        assert self.focal_gamma is not None
        weights = power ** (self.focal_gamma / 2)
        if self.focal_log:
            weights = weights.log1p()
        largest = weights.amax() if self.focal_batch else weights.amax((-2, -1), keepdim=True)
        return weights / largest


class SpectralDistance(torch.autograd.Function):
    """Add up weight * power^(gamma / 2) over all bins.

    The gradient is an inverse transform of half a spectrum, too; autograd would fill the spectrum up to a whole one.
    It has no second derivative.

    Args:
        images: [B, n, H, W] real.
        spectrum: their orthonormal `rfft2`, [B, n, H, W//2+1].
        power: |spectrum|^2 + 1e-12.
        weight: of each bin, 2 / 1 for those with and without a mirror image included; broadcasts to `power`.
        gamma: exponent.
    """

    @staticmethod
    def forward(ctx, images: Tensor, spectrum: Tensor, power: Tensor, weight: Tensor, gamma: float) -> Tensor:
        """Return the sum, a scalar. The spectrum is used up."""
        distance = power.pow(gamma / 2)
        total = (distance * weight).sum()
        # d|X|^g / dX = g |X|^(g-2) X; irfft2 counts bins with a mirror image twice, as the weights do.
        factor = distance.div_(power).mul_(weight * (gamma / mirror_weights(images.shape[-1], power)))
        ctx.save_for_backward(spectrum.mul_(factor))
        ctx.size = images.shape[-2:]
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the images."""
        (gradient,) = ctx.saved_tensors
        return torch.fft.irfft2(gradient, s=ctx.size, norm="ortho").mul_(grad), None, None, None, None


def mirror_weights(width: int, like: Tensor) -> Tensor:
    """Return how many bins of a whole spectrum each column of `rfft2` stands for: [W//2+1] of 1 and 2."""
    weights = torch.full((width // 2 + 1,), 2.0, dtype=like.dtype, device=like.device)
    weights[:1].fill_(1)  # this column holds its own mirror image ...
    if width % 2 == 0:
        weights[-1:].fill_(1)  # ... and so does that of the highest frequency of an even width
    return weights
