"""The paired bootstrap over images: draw multisets of images, and say what the scores of these tell.

Efron and Tibshirani (1993), "An Introduction to the Bootstrap", sections 13.3 (percentile interval) and 15.4 (achieved
significance level).
"""
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """A score in points of 0 to 100.

    Args:
        value: of the images as they are; NaN where it is not defined, e.g. the AP of a class without an object.
        samples: [B] float64 of the resamples; NaN where it is not defined.
    """

    value: float
    samples: np.ndarray


class Scores(NamedTuple):
    """What a checkpoint scores.

    Args:
        metrics: name as in a record -> score, e.g. `box_ap_small`.
        classes: name of a metric -> name of a class -> score.
    """

    metrics: dict[str, Score]
    classes: dict[str, dict[str, Score]]


def draw_counts(num_images: int, resamples: int, seed: int) -> np.ndarray:
    """Draw multisets of as many images as there are, each image with the same probability.

    Returns:
        [num_images, resamples] int32: how often each image is in each multiset.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, num_images), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
    return np.ascontiguousarray(counts.T)


def interval(samples: np.ndarray, level: float) -> tuple[float, float]:
    """Return the percentile interval of a level in (0, 1); NaN where no sample is defined.

    Args:
        samples: [B] float64; those that are NaN do not count.
    """
    defined = samples[np.isfinite(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p of no difference: twice the smaller share of resamples on one side of zero.

    One is added to both numbers of the share (Davison and Hinkley 1997, section 4.2), so p is never 0: its least value
    is 2 / (resamples + 1).

    Args:
        differences: [B] float64; those that are NaN do not count.
    """
    defined = differences[np.isfinite(differences)]
    if not len(defined):
        return float("nan")
    smaller = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (len(defined) + 1)))
