"""k-means codes of patch features: k-CLIP of MaPeT (Baraldi et al., CVIU 2025, arXiv 2306.07346) and its siblings.

The codebook file is written by tools/fit_tokenizer.py (`codebook.py`). Published k-CLIP: 8192 centroids (L2)
of the last feature map of OpenAI's CLIP RN50x64 at 448 pixels.
"""
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimtransfer.checkpoints.recorded_config import build_recorded
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file
from mimtransfer.registry import PATCH_FEATURES, TOKENIZERS
from mimtransfer.training.precision import full_fp32
from pretrain.aug_record import AugRecord
from pretrain.patches import unpatchify
from pretrain.tokenizers.base import Tokenizer, check_file

# Distances to all centroids at once would be 128 images x 196 patches x 8192 codes x 4 B = 0.8 GB.
_POINTS = 4096


@TOKENIZERS.register_module()
class KMeansTokenizer(Tokenizer):
    """Name each patch by the nearest centroid (L2) of its features.

    Args:
        codebook: file of tools/fit_tokenizer.py, which says the features, too.
        weights: file of the features' weights, where it is not in the place it had at the fit.

    Raises:
        UserError: a file is missing, is no codebook, or the weights of the features are not those of the fit.
    """

    centroids: Tensor
    patches: Tensor

    def __init__(self, codebook: str, weights: str | None = None):
        check_file(codebook, "KMeansTokenizer", "fit it: python tools/fit_tokenizer.py configs/tokenizer/...")
        content = read_checkpoint(codebook)
        _check(content, codebook)
        features = dict(content["features"])
        source = features["type"] + (f" of {features['arch']}" if "arch" in features else "")
        super().__init__(len(content["centroids"]), dict(sha256=sha256_file(codebook), source=source))
        if weights is not None:
            features["checkpoint"] = weights
        self.features = build_recorded(PATCH_FEATURES, features, f"KMeansTokenizer: {codebook!r}")
        if self.features.sha256 != content["weights_sha256"]:
            raise UserError(f"KMeansTokenizer: {codebook!r} was fitted on features of a file with sha256 "
                            f"{str(content['weights_sha256'])[:12]}, got {features.get('checkpoint')!r} with "
                            f"{str(self.features.sha256)[:12]}; give the former as weights=..., or fit again")
        # Clones, for the file may be overwritten while it is mapped.
        self.register_buffer("centroids", content["centroids"].clone())  # [K, D]
        self.register_buffer("patches", content["patches"].clone())  # [K, p, p, 3] uint8

    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        features = self.features(images)  # [B, h, w, D]
        return nearest(features.flatten(0, 2), self.centroids).view(features.shape[:3])

    def decode(self, ids: Tensor) -> Tensor:
        """Return the mean patch of each code in its place, [B, 3, h*p, w*p]; p is the side of a patch in the fit, at
        most 32.
        """
        side = self.patches.shape[1]
        _, rows, columns = ids.shape
        return unpatchify(self.patches[ids].float().flatten(3).flatten(1, 2) / 255, (side, side), (rows, columns))


def _check(content: Mapping[str, Any], path: str) -> None:
    """Refuse what tools/fit_tokenizer.py does not write."""
    fix = "expected a codebook.pth of tools/fit_tokenizer.py"
    if "centroids" not in content:
        raise UserError(f"KMeansTokenizer: {path!r} holds no centroids, {fix}")
    centroids, patches, features = (content.get(name) for name in ("centroids", "patches", "features"))
    if not (isinstance(centroids, Tensor) and centroids.ndim == 2 and centroids.numel()
            and centroids.dtype is torch.float32):
        raise UserError(f"KMeansTokenizer: centroids of {path!r} are no [K, D] float32, {fix}")
    if not torch.isfinite(centroids).all():
        raise UserError(f"KMeansTokenizer: centroids of {path!r} hold NaN or infinity; fit it again")
    if not (isinstance(patches, Tensor) and patches.dtype is torch.uint8 and patches.ndim == 4
            and patches.shape == (len(centroids), patches.shape[1], patches.shape[1], 3)):
        raise UserError(f"KMeansTokenizer: patches of {path!r} are no [K, p, p, 3] uint8, {fix}")
    if not isinstance(features, dict) or not isinstance(features.get("type"), str):
        raise UserError(f"KMeansTokenizer: features of {path!r} are no config with a type, {fix}")
    if not isinstance(content.get("weights_sha256"), (str, type(None))):
        raise UserError(f"KMeansTokenizer: weights_sha256 of {path!r} is no text, {fix}")


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the number of the nearest centroid (L2) of each point, [n, D] and [K, D] -> [n] int64."""
    # Distances do not change, and the product below does not cancel digits of a mean far from zero.
    centre = centroids.mean(0)
    centroids = centroids - centre
    half_norms = centroids.square().sum(1) / 2  # |x - c|^2 = |x|^2 - 2 (x c - |c|^2 / 2)
    with full_fp32():
        parts = [
            torch.addmm(half_norms, part - centre, centroids.T, beta=-1).argmax(1) for part in points.split(_POINTS)
        ]
    return torch.cat(parts)
