"""COCO's average precision of many multisets of images at once.

Detections are matched with the objects of their own image, so pycocotools matches them once. What a multiset changes is
how often each detection counts when they are sorted by score and summed up. An image that is there twice counts as two
images, the second right behind the first, as in a COCO json with copies of the image: the AP is that of pycocotools on
such a json, and not a mean of APs of images.
"""
import contextlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from mimtransfer.evaluation.comparison.bootstrap import Score, Scores

# Place in `stats` of pycocotools -> what follows the metric's name; of the thresholds of IoU; of the ranges of area.
_SUMMARY: tuple[tuple[str, slice, int], ...] = (
    ("", slice(None), 0), ("50", slice(0, 1), 0), ("75", slice(5, 6), 0),
    ("_small", slice(None), 1), ("_medium", slice(None), 2), ("_large", slice(None), 3),
)  # fmt: skip
_ELEMENTS = 1 << 22  # of an array of sums, 32 MB


def evaluate(coco: dict[str, Any], detections: list[dict[str, Any]], kind: str, categories: list[int]) -> Any:
    """Match detections with objects by pycocotools, at its own settings: at most 100 detections of an image and class.

    Args:
        coco: content of a COCO json. Its annotations are changed: masks become RLE.
        detections: in COCO's format for results.
        kind: `bbox` or `segm`.
        categories: ids of those that count.

    Returns:
        the COCOeval, evaluated, accumulated and summarized.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    # By the first detection pycocotools decides what all are; the area of a mask's box is not that of the mask.
    other = "bbox" if kind == "segm" else "segmentation"
    detections = [{key: value for key, value in found.items() if key != other} for found in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco
        truth.createIndex()
        if detections:
            found = truth.loadRes(detections)
        else:  # loadRes looks at the first
            found = COCO()
            found.dataset = {**coco, "annotations": []}
            found.createIndex()
        run = COCOeval(truth, found, kind)
        run.params.catIds = sorted(categories)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def scores_of(run: Any, counts: np.ndarray, name: str, classes: list[str]) -> Scores:
    """Return AP, AP at 0.5 and 0.75, by size and by class.

    Args:
        run: of `evaluate`.
        counts: [num_images, B] how often each image counts, in the order of the image ids.
        name: of the metric, e.g. `box_ap`.
        classes: names of the categories, in the order of their ids.
    """
    resampled = 100 * resampled_ap(run, counts)
    metrics = {
        name + suffix: Score(_points(run.stats[place]), _mean(resampled[area, thresholds]))
        for place, (suffix, thresholds, area) in enumerate(_SUMMARY)
    }
    precision = run.eval["precision"][..., -1]  # [T, R, K, A]
    by_class = {}
    for k, label in enumerate(classes):
        own = precision[:, :, k, 0]
        value = float(own[own > -1].mean()) if (own > -1).any() else -1.0
        by_class[label] = Score(_points(value), _mean(resampled[0, :, k : k + 1]))
    return Scores(metrics, {name: by_class})


def resampled_ap(run: Any, counts: np.ndarray) -> np.ndarray:
    """Return the AP of each area range, threshold and category in each multiset of images.

    Args:
        run: of `evaluate`.
        counts: [num_images, B] how often each image counts, in the order of the image ids.

    Returns:
        [A, T, K, B] float64 in 0 to 1; NaN where a multiset has no such object.
    """
    params = run.params
    num_areas, num_images = len(params.areaRng), len(params.imgIds)
    ap = np.full((num_areas, len(params.iouThrs), len(params.catIds), counts.shape[1]), np.nan)
    copies = int(counts.max(initial=0))
    for k in range(len(params.catIds)):
        for a in range(num_areas):
            first = (k * num_areas + a) * num_images
            of_images = run.evalImgs[first : first + num_images]
            objects = np.array([0 if one is None else np.count_nonzero(one["gtIgnore"] == 0) for one in of_images])
            total = (objects @ counts).astype(np.float64)  # [B]
            if total.any():
                for t, curve in enumerate(_curves(of_images, len(params.iouThrs), copies)):
                    ap[a, t, k] = _ap(curve, counts, total, params.recThrs)
    return ap


class _Curve(NamedTuple):
    """The detections that decide a curve of precision against recall, highest score first.

    Args:
        hits: [n] bool, whether one matches an object.
        images: [n] place of its image.
        copies: [n] 0: it counts as often as its image; c: once where its image is there c times or more.
    """

    hits: np.ndarray
    images: np.ndarray
    copies: np.ndarray


def _curves(of_images: list[dict[str, Any] | None], num_thresholds: int, copies: int) -> Iterator[_Curve]:
    """Yield the curve of each threshold.

    Args:
        of_images: what pycocotools says of a category and area range in each image.
        copies: the most of an image in any multiset.
    """
    there = [(i, one) for i, one in enumerate(of_images) if one is not None]
    scores = np.concatenate([np.asarray(one["dtScores"], dtype=np.float64) for _, one in there])
    order = np.argsort(-scores, kind="mergesort")  # pycocotools' own: of equal scores the first image stays first
    scores = scores[order]
    images = np.repeat([i for i, _ in there], [len(one["dtScores"]) for _, one in there])[order]
    matched = np.concatenate([one["dtMatches"] for _, one in there], axis=1)[:, order] != 0
    counted = ~np.concatenate([one["dtIgnore"] for _, one in there], axis=1).astype(bool)[:, order]
    for t in range(num_thresholds):
        kept = counted[t]
        yield _with_copies(matched[t, kept], images[kept], scores[kept], copies)


def _with_copies(hits: np.ndarray, images: np.ndarray, scores: np.ndarray, copies: int) -> _Curve:
    """Put detections of one image and one score, some right and some wrong, as often as an image can be there.

    Copies of an image follow each other: right, wrong, right, wrong has another precision than right, right, wrong,
    wrong.
    """
    begins = np.ones(len(hits), dtype=bool)
    begins[1:] = (scores[1:] != scores[:-1]) | (images[1:] != images[:-1])
    starts = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    sizes = np.bincount(group, minlength=len(starts))
    right = np.bincount(group[hits], minlength=len(starts))
    mixed = (right > 0) & (right < sizes)
    if not mixed.any():
        return _Curve(hits, images, np.zeros(len(hits), dtype=np.int64))
    repeats = np.where(mixed, copies, 1)
    groups = np.repeat(np.arange(len(starts)), repeats)
    number = np.arange(len(groups)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    number = np.where(mixed[groups], number + 1, 0)
    sizes = sizes[groups]
    index = np.arange(sizes.sum()) + np.repeat(starts[groups] - (np.cumsum(sizes) - sizes), sizes)
    return _Curve(hits[index], images[index], np.repeat(number, sizes))


def _ap(curve: _Curve, counts: np.ndarray, total: np.ndarray, recalls: np.ndarray) -> np.ndarray:
    """Return the area under a curve in each multiset.

    Precision only rises where a detection is right, so what lies between two of these is summed up.

    Args:
        counts: [num_images, B] int.
        total: [B] objects to find.
        recalls: [R] where the curve is read.

    Returns:
        [B] float64; NaN where there is nothing to find.
    """
    last = int(np.flatnonzero(curve.hits)[-1]) + 1 if curve.hits.any() else 0
    hits, images, copies = (part[:last] for part in curve)
    ap = np.where(total > 0, 0.0, np.nan)
    if not last:
        return ap
    num_images = len(counts)
    columns, place = np.unique(copies * num_images + images, return_inverse=True)
    gap = np.cumsum(hits) - hits  # of each detection: the hits before it
    summed = sparse.csr_matrix((np.ones(last), (gap, place)), shape=(int(hits.sum()), len(columns)))
    found = place[hits]
    width = max(1, _ELEMENTS // max(summed.shape))
    for first in range(0, counts.shape[1], width):
        part = slice(first, first + width)
        often = counts[columns % num_images, part]
        needed = (columns // num_images)[:, None]
        often = np.where(needed > 0, often >= needed, often).astype(np.float64)  # [columns, B]
        right = np.cumsum(often[found], axis=0)
        precision = right / (np.cumsum(summed @ often, axis=0) + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        reached = np.searchsorted(recalls, right / np.maximum(total[part], 1), side="right")
        ap[part] += (precision * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / len(recalls)
    return ap


def _mean(ap: np.ndarray) -> np.ndarray:
    """Return the mean over thresholds and the categories that are there: [T, K, B] -> [B]."""
    there = np.isfinite(ap)
    number = there.sum(axis=(0, 1))
    total = np.where(there, ap, 0.0).sum(axis=(0, 1))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _points(value: float) -> float:
    """Return points, NaN for the -1 of pycocotools."""
    return 100 * float(value) if value > -1 else float("nan")
