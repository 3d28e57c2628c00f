"""Brightness, contrast, elastic deformation, pixelation and JPEG. Images are [B, 3, H, W] float in [0, 1]."""
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mimtransfer.draws import SampleGenerator
from mimtransfer.evaluation.robustness.common_corruptions.resampling import bilinear, box_resize, gaussian_blur


def brightness(x: Tensor, generator: SampleGenerator, amount: float) -> Tensor:
    """Raise the value of the HSV colour, which is the largest channel; hue and saturation stay."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + amount).clamp(0, 1)
    return torch.where(value > 0, x * (raised / value.clamp_min(1e-6)), raised)


def contrast(x: Tensor, generator: SampleGenerator, share: float) -> Tensor:
    """Keep a share of the difference to the mean of each channel."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * share + mean


def elastic_transform(
    x: Tensor, generator: SampleGenerator, amplitude: float, smoothness: float, affine: float
) -> Tensor:
    """Move three points and everything with them, then each pixel by a smooth random field.

    Args:
        x: images.
        generator: of the three points and the field.
        amplitude: of the field, before it is smoothed, in pixels.
        smoothness: std of the Gaussian that smooths it, in pixels.
        affine: the points move by at most this in x and in y, in pixels.
    """
    height, width = x.shape[-2:]
    rows, columns = (n.float() for n in torch.meshgrid(
        *(torch.arange(n, device=x.device) for n in (height, width)), indexing="ij"))
    side = min(height, width) // 3
    corners = x.new_tensor([[side, side], [side, -side], [-side, -side]]) + x.new_tensor([width // 2, height // 2])
    moved = corners + affine * (2 * generator.uniform(3, 2) - 1)  # [B, 3, 2], x and y
    ones = torch.ones_like(moved[..., :1])
    backwards = torch.linalg.solve(torch.cat([moved, ones], 2).double(), corners.double().expand_as(moved)).float()
    grid = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ backwards[:, None]  # [B, H, W, 2]
    x = bilinear(x, grid[..., 1], grid[..., 0], "mirror")
    right, down = (amplitude * gaussian_blur(2 * generator.uniform(height, width) - 1, smoothness, "symmetric", 3.0)
                   for _ in range(2))
    return bilinear(x, rows + down, columns + right, "symmetric")


def pixelate(x: Tensor, generator: SampleGenerator, scale: float) -> Tensor:
    """Shrink by averaging, and enlarge again."""
    height, width = x.shape[-2:]
    return box_resize(box_resize(x, int(height * scale), int(width * scale)), height, width)


def jpeg_compression(x: Tensor, generator: SampleGenerator | None, quality: int) -> Tensor:
    """Write and read a JPEG file, on the CPU: Pillow's, with colours at half resolution."""
    pixels = (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return torch.stack([_jpeg(image, quality) for image in pixels]).to(x.device).permute(0, 3, 1, 2) / 255


def _jpeg(pixels: np.ndarray, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file)))
