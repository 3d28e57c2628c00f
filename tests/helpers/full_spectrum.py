"""Filter and loss of MFM by whole complex spectra, in the steps of the released code: what ours is compared with.

In values by the tests; in time by `tools/benchmark.py CONFIG --parts --reference tests/helpers/full_spectrum.py`.
"""
from collections.abc import Callable

import torch
from torch import Tensor


def masks(height: int, width: int, radius: float, low_pass: Tensor) -> Tensor:
    """Return int64 masks [B, H, W] of shifted spectra, 1 = kept, bin by bin. low_pass: [B] bool."""
    disc = torch.zeros(height, width, dtype=torch.int64)
    for row in range(height):
        for column in range(width):
            disc[row, column] = (row - height // 2) ** 2 + (column - width // 2) ** 2 < radius**2
    return torch.stack([disc if low else 1 - disc for low in low_pass])


def corrupt(images: Tensor, kept: Tensor, clamp: bool = True) -> Tensor:
    """Filter [B, C, H, W] with masks of shifted spectra [B, H, W]."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1)) * kept[:, None]
    filtered = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    return filtered.clamp(0, 1) if clamp else filtered


def loss(prediction: Tensor, target: Tensor, kept: Tensor | None, gamma: float = 1.0) -> Tensor:
    """Return the loss over the bins that are not kept, pooled over the batch. kept: [B, H, W] of shifted spectra."""
    shifted = [torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1)) for x in (prediction, target)]
    predicted, wanted = (torch.stack([x.real, x.imag], -1) for x in shifted)
    distance = (((predicted - wanted) ** 2).sum(-1) + 1e-12).sqrt() ** gamma  # [B, C, H, W]
    if kept is None:
        return distance.mean()
    return (distance * (1 - kept[:, None])).sum() / (1 - kept).sum() / prediction.shape[1]


def build(batch_size: int, image_size: int, device: str) -> Callable[[], object]:
    """Return a step for tools/benchmark.py: radius 16, every other sample low-pass; loss with its gradient."""
    images, prediction = torch.rand(2, batch_size, 3, image_size, image_size, device=device)
    prediction.requires_grad_()
    kept = masks(image_size, image_size, 16, torch.arange(batch_size) % 2 == 0)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], device=device).view(2, 3, 1, 1)

    def step() -> None:
        on_device = kept.to(device)  # the loader makes them
        (corrupt(images, on_device) - mean).div_(std)
        loss(prediction, (images - mean) / std, on_device).backward()

    return step
