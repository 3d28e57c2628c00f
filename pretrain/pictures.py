"""Pictures of masks and reconstructions, as plain pixel arrays."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.layout import TokenLayout

# Masked patches are grey, thrown ones dark red.
_ROLE_COLOURS = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.35, 0.0, 0.0]])


def to_unit_range(images: Tensor, preprocessor) -> Tensor:
    """Undo the normalisation: [B, C, H, W] normalised -> [B, C, H, W] in [0, 1].

    Args:
        preprocessor: mmengine `ImgDataPreprocessor`, with `mean` and `std` of shape [C, 1, 1] in 0..255.
    """
    return ((images.float() * preprocessor.std + preprocessor.mean) / 255).clamp(0, 1)


def show_roles(images: Tensor, layout: TokenLayout, grid: tuple[int, int]) -> Tensor:
    """Paint masked patches grey and thrown ones dark red: [B, 3, H, W] in [0, 1] -> same."""
    roles = layout.roles().view(-1, 1, *grid).float()
    roles = F.interpolate(roles, size=images.shape[-2:], mode="nearest")[:, 0].long()  # [B, H, W]
    colours = _ROLE_COLOURS.to(images.device)[roles].permute(0, 3, 1, 2)
    return torch.where(roles[:, None] == 0, images, colours)


def reconstruction_picture(
    images: Tensor, restored: Tensor, layout: TokenLayout | None, preprocessor, encoder
) -> np.ndarray:
    """Put input, roles and reconstruction side by side, one image to a row.

    Args:
        images: [B, 3, H, W] normalised.
        restored: [B, 3, H, W] normalised, from `MIMethod.reconstruct`.
        layout: roles, or None for a method without.

    Returns:
        [B*(H+2), n*(W+2), 3] uint8, RGB.
    """
    pixels = to_unit_range(images, preprocessor)
    columns = [pixels, to_unit_range(restored, preprocessor)]
    if layout is not None:
        columns.insert(1, show_roles(pixels, layout, encoder.patch_grid(images)))
    tiles = torch.stack([F.pad(column, (1, 1, 1, 1), value=1.0) for column in columns], dim=1)  # [B, n, 3, H+2, W+2]
    rows = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [B*(H+2), n*(W+2), 3]
    return (rows * 255).round().byte().cpu().numpy()
