"""k-means codes of patch features: k-CLIP of MaPeT (Baraldi et al., CVIU 2025, arXiv 2306.07346) and its siblings.

The codebook file is written by tools/fit_tokenizer.py.
"""
import os

import torch
from torch import Tensor

from mimtransfer.errors import UserError
from mimtransfer.registry import PATCH_FEATURES, TOKENIZERS
from mimtransfer.results.provenance import sha256_file
from mimtransfer.safe_load import read_checkpoint
from pretrain.tokenizers.base import Tokenizer, check_file

# Distances to all centroids at once would be 128 images x 196 patches x 8192 codes x 4 B = 0.8 GB.
_ROWS = 4096


@TOKENIZERS.register_module()
class KMeansTokenizer(Tokenizer):
    """Name each patch by the nearest centroid (L2) of its features.

    Args:
        codebook: file of tools/fit_tokenizer.py.

    Raises:
        UserError: the file is missing, or no codebook.
    """

    def __init__(self, codebook: str | os.PathLike):
        path = check_file(codebook, "KMeansTokenizer", "fit it by tools/fit_tokenizer.py configs/tokenizer/...")
        content = read_checkpoint(path)
        if "centroids" not in content:
            raise UserError(f"KMeansTokenizer: {path!r} holds no centroids; give a codebook of tools/fit_tokenizer.py")
        super().__init__(
            len(content["centroids"]), dict(sha256=sha256_file(path), source=content["features"]["type"])
        )
        self.features = PATCH_FEATURES.build(content["features"])
        self.register_buffer("centroids", content["centroids"].clone())  # [K, D]; the file may be overwritten

    def encode(self, images: Tensor, record=None) -> Tensor:
        features = self.features(images)  # [B, h, w, D]
        return nearest(features.flatten(0, 2), self.centroids).view(features.shape[:3])


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the number of the nearest centroid (L2) of each point, [n, D] and [K, D] -> [n] int64."""
    half_norms = centroids.square().sum(1) / 2  # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2)
    parts = [torch.addmm(half_norms, part, centroids.T, beta=-1).argmax(1) for part in points.split(_ROWS)]
    return torch.cat(parts)
