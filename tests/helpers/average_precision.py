"""Average precision as COCO defines it, in float64 and plain loops: shares no code with pycocotools."""
from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"": (0, 1e10), "_small": (0, 32**2), "_medium": (32**2, 96**2), "_large": (96**2, 1e10)}


class Thing(NamedTuple):
    """A box or mask, of the ground truth or found."""

    image: int
    label: int
    shape: np.ndarray  # [4] x0 y0 x1 y1, or [H, W] bool
    area: float
    score: float = 0.0
    crowd: bool = False


def average_precision(truth, found, area="", thresholds=THRESHOLDS):
    """Return the mean over classes, thresholds and 101 recalls, at most 100 detections an image, as a fraction."""
    found = [thing._replace(shape=thing.shape.astype(np.float64)) for thing in found]
    truth = [thing._replace(shape=thing.shape.astype(np.float64)) for thing in truth]
    of_class = []
    for label in sorted({thing.label for thing in truth}):
        matched = [_match_image([t for t in truth if t.image == image and t.label == label],
                                [f for f in found if f.image == image and f.label == label], AREAS[area], thresholds)
                   for image in sorted({thing.image for thing in truth + found})]  # fmt: skip
        number = sum(part[0] for part in matched)
        if number:
            hits = [hit for part in matched for hit in part[1]]
            of_class += [_area_under(hits, k, number) for k in range(len(thresholds))]
    return np.mean(of_class)


def _match_image(truth, found, limits, thresholds):
    """Return how many there are to find, and (score, state at each threshold) of the found ones: 1 hit, 0 miss."""
    outside = [not limits[0] <= thing.area <= limits[1] for thing in truth]
    order = sorted(range(len(truth)), key=lambda k: truth[k].crowd or outside[k])  # what counts comes first
    found = sorted(found, key=lambda thing: -thing.score)[:100]
    states = [[0] * len(thresholds) for _ in found]
    for t, threshold in enumerate(thresholds):
        taken = set()
        for state, thing in zip(states, found):
            best, chosen = threshold, None
            for k in order:
                ignored = truth[k].crowd or outside[k]
                if k in taken and not truth[k].crowd:
                    continue
                if chosen is not None and ignored and not (truth[chosen].crowd or outside[chosen]):
                    break
                overlap = _overlap(thing.shape, truth[k].shape, truth[k].crowd)
                if overlap >= best:
                    best, chosen = overlap, k
            if chosen is not None:
                taken.add(chosen)
                state[t] = None if truth[chosen].crowd or outside[chosen] else 1
            elif not limits[0] <= thing.area <= limits[1]:
                state[t] = None
    number = sum(not (thing.crowd or out) for thing, out in zip(truth, outside))
    return number, [(thing.score, state) for thing, state in zip(found, states)]


def _overlap(found, truth, crowd):
    if found.ndim == 1:
        sides = np.minimum(found[2:], truth[2:]) - np.maximum(found[:2], truth[:2])
        shared = sides.prod() if (sides > 0).all() else 0.0
        own, other = (found[2:] - found[:2]).prod(), (truth[2:] - truth[:2]).prod()
    else:
        shared, own, other = (found * truth).sum(), found.sum(), truth.sum()
    return shared / (own if crowd else own + other - shared)


def _area_under(hits, k, number):
    states = [state[k] for _, state in sorted(hits, key=lambda hit: -hit[0]) if state[k] is not None]
    total = np.cumsum(states)
    precision = total / np.arange(1, len(states) + 1)
    recall = total / number
    return np.mean([max(precision[recall >= level], default=0.0) for level in RECALLS])
