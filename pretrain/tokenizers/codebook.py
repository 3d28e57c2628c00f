"""Fit a k-means codebook: features of patches of a training set, centroids, how much of them is used."""
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.utils import make_grid
from tqdm import tqdm

from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from pretrain.aug_record import AugRecord
from pretrain.data.images import PretrainImages
from pretrain.patches import patchify
from pretrain.tokenizers.features import PatchFeatures
from pretrain.tokenizers.kmeans import nearest

_PICTURE_SIDE = 32  # pixels of a patch that are kept for pictures, at most
_DRAWN = 1024  # codes in the picture


@dataclass
class Sample:
    """Patches drawn from a data set, on the CPU."""

    points: Tensor  # [n, D] float32, features
    pixels: Tensor  # [n, p, p, 3] uint8, the same patches of the pictures


@torch.no_grad()
def sample_patches(
    dataset: PretrainImages,
    features: PatchFeatures,
    num_patches: int,
    patches_per_image: int,
    batch_size: int,
    num_workers: int,
    device: torch.device | str,
) -> Sample:
    """Draw patches from evenly spaced images of a training set, as its transform shows them.

    The draw follows from the seeds of the samples. Where there are too few images, all of them give
    `patches_per_image` patches.
    """
    count = min(len(dataset), -(-num_patches // patches_per_image))
    chosen = [i * len(dataset) // count for i in range(count)]
    loader = DataLoader(dataset, batch_size, sampler=chosen, num_workers=num_workers)
    points, pixels = [], []
    for images, record in batches(loader, device, "features"):
        found = features(images)  # [B, h, w, D]
        grid = found.shape[1:3]
        drawn = SampleGenerator(record.seed).uniform(grid.numel()).argsort(1)[:, :patches_per_image]
        rows = torch.arange(len(drawn), device=drawn.device)[:, None]
        points.append(found.flatten(1, 2)[rows, drawn].flatten(0, 1).cpu())
        pixels.append(_patch_pixels(images, tuple(grid))[rows, drawn].flatten(0, 1).cpu())
    return Sample(torch.cat(points)[:num_patches], torch.cat(pixels)[:num_patches])


def batches(loader: DataLoader, device: torch.device | str, title: str) -> Iterator[tuple[Tensor, AugRecord]]:
    """Yield images [B, 3, H, W] float32 in [0, 1] and their records on the device, with a progress bar."""
    for batch in tqdm(loader, title, unit="batch", smoothing=0.05):
        record = batch["record"]
        yield batch["inputs"].to(device).float() / 255, type(record)(*(part.to(device) for part in record))


def fit_centroids(points: Tensor, num_codes: int, epochs: int, batch_size: int, seed: int) -> Tensor:
    """Fit centroids by scikit-learn's mini-batch k-means (Sculley, WWW 2010), started by k-means++.

    Centroids that win nearly nothing are put elsewhere, but not in the last epoch, so all of them settle.

    Args:
        points: [n, D] float32.
        epochs: how often each point is used.
        batch_size: points of a step.

    Returns:
        [K, D] float32, the same for the same points and seed.

    Raises:
        UserError: fewer points than codes.
    """
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

    if len(points) < num_codes:
        raise UserError(f"k-means: got {len(points)} patches for num_codes={num_codes}; expected more patches than "
                        "codes: give more images, or raise patches_per_image or patches_per_code")
    state = np.random.RandomState(seed)
    start = points[np.sort(state.permutation(len(points))[: 3 * num_codes])].numpy()
    centroids, _ = kmeans_plusplus(start, num_codes, random_state=state)
    kmeans = MiniBatchKMeans(num_codes, init=centroids, n_init=1, compute_labels=False, random_state=state)
    with tqdm(total=epochs * len(points), desc="k-means", unit="patch", unit_scale=True) as progress:
        for epoch in range(epochs):
            if epoch == epochs - 1:
                kmeans.reassignment_ratio = 0
            order = state.permutation(len(points))
            for begin in range(0, len(order), batch_size):
                part = points[order[begin : begin + batch_size]].numpy()
                kmeans.partial_fit(part)
                progress.update(len(part))
    return torch.from_numpy(kmeans.cluster_centers_.astype(np.float32))


def code_statistics(sample: Sample, centroids: Tensor, device: torch.device | str) -> dict[str, Tensor]:
    """Return what the codes stand for in the sample.

    Returns:
        `counts` [K] int64, how many patches have each code; `patches` [K, p, p, 3] uint8, their mean, and grey for a
        dead code, which no patch has.
    """
    on_device = centroids.to(device)
    ids = torch.cat([nearest(part.to(device), on_device).cpu() for part in sample.points.split(1 << 16)])
    counts = torch.bincount(ids, minlength=len(centroids))
    sums = torch.zeros(len(centroids), *sample.pixels.shape[1:])
    for part, codes in zip(sample.pixels.split(1 << 16), ids.split(1 << 16)):
        sums.index_add_(0, codes, part.float())
    means = (sums / counts.clamp(min=1).view(-1, 1, 1, 1)).round()
    means[counts == 0] = 128
    return {"counts": counts, "patches": means.to(torch.uint8)}


def perplexity(counts: Tensor) -> float:
    """Return exp of the entropy of the codes, 1 (one code for all) to K (all codes alike)."""
    shares = counts.double() / counts.sum()
    return float(torch.special.entr(shares).sum().exp())


def draw_codes(patches: Tensor, counts: Tensor) -> Tensor:
    """Return a picture [H, W, 3] uint8 of the mean patches of the most used codes, row by row."""
    shown = patches[counts.argsort(descending=True, stable=True)[:_DRAWN]].permute(0, 3, 1, 2)
    scale = -(-16 // shown.shape[-1])  # at least 16 pixels each
    shown = shown.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return make_grid(shown, nrow=int(np.ceil(len(shown) ** 0.5)), padding=1, pad_value=255).permute(1, 2, 0)


def _patch_pixels(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the pixels under each cell of a grid, [B, h*w, p, p, 3] uint8, p at most 32."""
    side = min(_PICTURE_SIDE, images.shape[-2] // grid[0])
    size = (grid[0] * side, grid[1] * side)
    if images.shape[-2:] != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    return (patchify(images, (side, side)) * 255).round().to(torch.uint8).unflatten(2, (side, side, 3))
