"""Divide the patches of an image into parts of like features: k-means of every image of a batch at once."""
import torch
from torch import Tensor


def part_labels(features: Tensor, num_parts: int, iterations: int = 10) -> Tensor:
    """Label the patches of each image by k-means (Lloyd's iteration), without randomness.

    The first centre is the patch farthest from the mean of its image, each further one the patch farthest from all
    centres so far. A part that loses all its patches keeps its centre.

    Args:
        features: [B, L, D] float; of unit length for parts of like direction.
        iterations: a fixed number, so that nothing waits for the device.

    Returns:
        [B, L] int64 in [0, num_parts); not every label need occur.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.float() - features.float().mean(1, keepdim=True)  # small numbers keep their digits
        centres = _farthest_points(features, num_parts)
        for _ in range(iterations):
            member = _nearest(features, centres)[:, :, None] == torch.arange(num_parts, device=features.device)
            size = member.sum(1)[:, :, None]  # [B, parts, 1]
            mean = member.float().transpose(1, 2) @ features / size.clamp_min(1)
            centres = torch.where(size > 0, mean, centres)
        return _nearest(features, centres)


def _farthest_points(features: Tensor, num_points: int) -> Tensor:
    """Choose patches far from one another: [B, L, D], centred -> [B, points, D]."""
    rows = torch.arange(len(features), device=features.device)
    points = [features[rows, features.square().sum(-1).argmax(1)]]
    distance = (features - points[0][:, None]).square().sum(-1)  # [B, L], to the nearest point
    for _ in range(num_points - 1):
        points.append(features[rows, distance.argmax(1)])
        distance = torch.minimum(distance, (features - points[-1][:, None]).square().sum(-1))
    return torch.stack(points, dim=1)


def _nearest(features: Tensor, centres: Tensor) -> Tensor:
    # |f - c|^2 = |f|^2 - 2 (f c - |c|^2 / 2), and |f|^2 is the same for all centres.
    return (features @ centres.transpose(1, 2) - centres.square().sum(-1)[:, None] / 2).argmax(-1)
