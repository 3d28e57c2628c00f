"""Non-maximum suppression, soft-NMS (Bodla et al. 2017, arXiv:1704.04503), NMS groups and box overlaps.

Names and arguments are those of `mmcv._ext`. Boxes are [N, 4] x1 y1 x2 y2 in pixels; `offset` 1 counts the last pixel
too (width x2 - x1 + 1). Class-aware NMS is mmcv's own `batched_nms`.
"""
import numpy as np
import torch
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import kernel, widen


@kernel
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return indices [K] int64, best first, of boxes that no better kept box overlaps by more than the threshold."""
    boxes, scores = widen(boxes), widen(scores)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    if boxes.dtype == torch.float32:
        iou_threshold = float(np.float32(iou_threshold))  # mmcv compares floats: an IoU of 0.3f is not above 0.3
    return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def _numpy_boxes(boxes: Tensor, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Return corners [N, 4] (copied) and areas [N], in float32 or float64."""
    corners = widen(boxes.detach()).cpu().numpy().copy()
    size = corners[:, 2:] - corners[:, :2] + offset
    return corners, size[:, 0] * size[:, 1]


def _overlaps(box: np.ndarray, area: np.ndarray, others: np.ndarray, areas: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU [n] of one box with others; 0 for two boxes without area, where the compiled op divides 0 by 0."""
    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + offset
    inter = np.maximum(size[:, 0], 0) * np.maximum(size[:, 1], 0)
    union = area + areas - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union != 0)


@kernel
def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Fill rows of `dets` [N, 5] with kept boxes and their lowered scores, best first; return their indices [K] int64.

    Args:
        method: 0 drops a box that overlaps by the threshold or more, 1 scales its score by 1 - IoU,
            2 scales every score by exp(-IoU^2 / sigma).
    """
    corners, areas = _numpy_boxes(boxes, offset)
    left = widen(scores.detach()).cpu().numpy().astype(corners.dtype)
    index = np.arange(len(left))
    count, done = len(left), 0
    while done < count:
        best = done + int(np.argmax(left[done:count]))
        for column in (corners, areas, left, index):
            column[[done, best]] = column[[best, done]]
        rest = slice(done + 1, count)
        iou = _overlaps(corners[done], areas[done], corners[rest], areas[rest], offset)
        if method == 2:
            left[rest] *= np.exp(-(iou * iou) / sigma)
        else:
            left[rest] *= np.where(iou >= iou_threshold, 0 if method == 0 else 1 - iou, 1)
        done += 1
        # A box below min_score is replaced by the last one still in play: equal scores keep the compiled op's order.
        kept = left[done:count] >= min_score
        end = done + int(kept.sum())
        holes = done + np.flatnonzero(~kept[: end - done])
        fillers = end + np.flatnonzero(kept[end - done :])[::-1]
        for column in (corners, areas, left, index):
            column[holes] = column[fillers]
        count = end
    dets[:count] = torch.from_numpy(np.concatenate([corners[:count], left[:count, None]], axis=1)).to(dets)
    return torch.from_numpy(index[:count]).to(boxes.device)


@kernel
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group `dets` [N, 5]: indices of each kept box, then of those it suppresses (IoU >= threshold), by score."""
    corners, areas = _numpy_boxes(dets[:, :4], offset=0)
    order = torch.sort(dets[:, 4], descending=True, stable=True).indices.cpu().numpy()
    groups = []
    while len(order):
        best, rest = order[0], order[1:]
        same = _overlaps(corners[best], areas[best], corners[rest], areas[rest], offset=0) >= iou_threshold
        groups.append([int(best), *rest[same].tolist()])
        order = rest[~same]
    return groups


@kernel
def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Fill `ious` ([N, M], or [N] when aligned) with intersection over union (mode 0) or over the first area (1)."""
    first, second = widen(bboxes1), widen(bboxes2)
    area1 = (first[:, 2:] - first[:, :2] + offset).prod(-1)
    area2 = (second[:, 2:] - second[:, :2] + offset).prod(-1)
    if not aligned:
        first, area1 = first[:, None], area1[:, None]
    size = torch.minimum(first[..., 2:], second[:, 2:]) - torch.maximum(first[..., :2], second[:, :2]) + offset
    inter = size.clamp(min=0).prod(-1)
    ious.copy_(inter / (area1 + area2 - inter if mode == 0 else area1))
