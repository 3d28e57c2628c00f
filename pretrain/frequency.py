"""Frequencies of the tokens of an image: what the low ones amount to at each patch.

The low-frequency energy of VTC-LFC (Wang et al., NeurIPS 2022) as FAMT weighs patches by it (arXiv 2211.15362v3); the
formula is that of the code of its experiments (jsrdcht/famt, util/misc.py), where it is commented out.

Departure: there the notch that removes high frequencies sits at bin (L-1)/2 and not at the Nyquist frequency L/2, so it
treats a frequency and its negative differently and the filtered tokens are complex. Here they are real, and half of the
spectrum is enough.
"""
import torch
from torch import Tensor


def low_frequency_energy(tokens: Tensor, grid: tuple[int, int], kind: str = "lfe1d", cutoff: float = 0.15) -> Tensor:
    """Return how strong the low frequencies are at each patch, over the mean strength of all frequencies.

    F_j = sum_c |y_cj| / mean_k sum_c |x_ck|, where y are the low frequencies of the tokens x.

    Args:
        tokens: [B, L, D] float, patches only, row-major.
        grid: (h, w).
        kind: `lfe1d` takes the rows one after the other as one signal of length L, as the authors do; `lfe2d` (ours)
            takes the image as it is, so that the end of a row is no neighbour of the next one's beginning.
        cutoff: width of what is removed, see `low_pass`.

    Returns:
        [B, L] float32, >= 0.
    """
    x = tokens.float()  # half precision has no transforms of lengths that are no power of two
    if kind == "lfe1d":
        frequency = torch.fft.rfftfreq(x.shape[1], device=x.device)
        y = torch.fft.irfft(torch.fft.rfft(x, dim=1) * low_pass(frequency, cutoff)[:, None], n=x.shape[1], dim=1)
    else:
        by_row = torch.fft.fftfreq(grid[0], device=x.device)[:, None]
        by_column = torch.fft.rfftfreq(grid[1], device=x.device)
        transfer = low_pass(torch.hypot(by_row, by_column), cutoff)[:, :, None]
        spectrum = torch.fft.rfft2(x.unflatten(1, grid), dim=(1, 2))
        y = torch.fft.irfft2(spectrum * transfer, s=grid, dim=(1, 2)).flatten(1, 2)
    return y.abs().sum(2) / x.abs().sum(2).mean(1, keepdim=True)


def low_pass(frequency: Tensor, cutoff: float) -> Tensor:
    """Return 1 - exp(-(1 - 2f)^2 / (2 cutoff^2)): all but a Gaussian around the Nyquist frequency, and nothing beyond.

    With f = n / L this is the authors' 1 - exp(-(n - L/2)^2 / (2 (L cutoff / 2)^2)).

    Args:
        frequency: any shape, in cycles per token; in two dimensions the length of the frequency vector.
        cutoff: standard deviation of the Gaussian, as a share of the Nyquist frequency.
    """
    distance = (1 - 2 * frequency.abs()).clamp_min(0)
    return 1 - (-distance.square() / (2 * cutoff**2)).exp()
