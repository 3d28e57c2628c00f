"""Features of patches for k-means: what is compared when a patch is named by its nearest centroid."""
from torch import Tensor, nn

from mimtransfer.registry import PATCH_FEATURES
from pretrain.patches import patchify


@PATCH_FEATURES.register_module()
class PixelFeatures(nn.Module):
    """The pixels of the patches themselves.

    Args:
        patch_size: side in pixels.
    """

    sha256 = None  # there are no weights

    def __init__(self, patch_size: int):
        super().__init__()
        self.patch_size = patch_size

    def forward(self, images: Tensor) -> Tensor:
        """Return [B, h, w, D] float32 of images [B, 3, H, W] float32 in [0, 1]."""
        grid = [side // self.patch_size for side in images.shape[-2:]]
        return patchify(images, (self.patch_size, self.patch_size)).unflatten(1, grid)
