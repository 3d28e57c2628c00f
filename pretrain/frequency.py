"""Low-frequency energy of tokens: what is left of each after a low-pass filter over the patches.

The score is that of VTC-LFC (Wang et al., NeurIPS 2022), as FAMT's code uses it (jsrdcht/famt).
"""
import torch
from torch import Tensor

KINDS = ("lfe1d", "lfe2d")


def low_frequency_energy(tokens: Tensor, grid: tuple[int, int], kind: str = "lfe1d", cutoff: float = 0.15) -> Tensor:
    """Return F_j = sum_c |y_cj| / mean_k sum_c |x_ck|, y the low-passed tokens x.

    Args:
        tokens: [B, L, D] patch tokens, row-major; computed in float32 whatever they are.
        grid: (h, w), L = h * w.
        kind: `lfe1d` filters along the raster order, as FAMT's code; `lfe2d` over the grid, with the same shape of
            filter (ours): in one dimension the end of a row is the neighbour of the next row's begin.
        cutoff: share of the spectrum, in (0, 1]; see `gaussian_low_pass`.

    Returns:
        [B, L] float32, >= 0.
    """
    with torch.autocast(tokens.device.type, enabled=False):  # no FFT of length 196 in half precision
        x = tokens.float()
        if kind == "lfe1d":
            gain = gaussian_low_pass((x.shape[1],), cutoff, x.device)
            y = torch.fft.irfft(torch.fft.rfft(x, dim=1) * gain[:, None], n=x.shape[1], dim=1)
        else:
            gain = gaussian_low_pass(grid, cutoff, x.device)
            spectrum = torch.fft.rfft2(x.unflatten(1, grid), dim=(1, 2)) * gain[:, :, None]
            y = torch.fft.irfft2(spectrum, s=grid, dim=(1, 2)).flatten(1, 2)
        return y.abs().sum(-1) / x.abs().sum(-1).mean(1, keepdim=True)


def gaussian_low_pass(sizes: tuple[int, ...], cutoff: float, device: torch.device | str = "cpu") -> Tensor:
    """Return the gain of each bin of a real FFT over one or two axes: 1 - exp(-(distance to the highest)^2 / 2 d0).

    Along an axis of n bins the highest frequency is n / 2, and d0 = (n * cutoff / 2)^2. FAMT's code puts it at
    (n - 1) / 2, where the filter is not symmetric and the filtered tokens become complex; ours stay real. With two
    axes, a bin passes as the worse of them does (a product would pass less of the middle than each axis alone).

    Returns:
        [n // 2 + 1] or [h, w // 2 + 1] float32, in [0, 1].
    """
    *full, last = sizes
    gains = []
    for n, bins in [*((n, n) for n in full), (last, last // 2 + 1)]:
        distance = torch.arange(bins, device=device) - n / 2
        gains.append(1 - torch.exp(-(distance**2) / (2 * (n * cutoff / 2) ** 2)))
    return gains[0] if len(gains) == 1 else torch.minimum(gains[0][:, None], gains[1])
