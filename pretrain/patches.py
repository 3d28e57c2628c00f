"""Images to rows of patch pixels and back, and the normalised-pixel target."""
from torch import Tensor


def patchify(images: Tensor, patch: tuple[int, int]) -> Tensor:
    """Cut images into patches: [B, C, H, W] -> [B, L, ph*pw*C], pixels in the order (ph, pw, C) of the official
    MAE code.
    """
    batch, channels, height, width = images.shape
    ph, pw = patch
    cut = images.reshape(batch, channels, height // ph, ph, width // pw, pw)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, (height // ph) * (width // pw), ph * pw * channels)


def unpatchify(rows: Tensor, patch: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Put patches together again: [B, L, ph*pw*C] -> [B, C, h*ph, w*pw]; the inverse of `patchify`."""
    (ph, pw), (h, w) = patch, grid
    cut = rows.reshape(len(rows), h, w, ph, pw, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(rows), -1, h * ph, w * pw)


def patch_statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and std of each patch, [..., 1] each.

    MAE sec. 4.1 (normalised target): unbiased variance, 1e-6 under the root, over all pixels and channels of the patch.
    """
    variance, mean = rows.var(dim=-1, keepdim=True), rows.mean(dim=-1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()
