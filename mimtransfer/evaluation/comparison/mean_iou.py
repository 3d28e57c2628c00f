"""mIoU, mean and overall accuracy of many multisets of images at once, from the pixels of each class in each image."""
import warnings
from typing import NamedTuple

import numpy as np

from mimtransfer.evaluation.comparison.bootstrap import Score, Scores


class Areas(NamedTuple):
    """Pixels of each class in each image.

    Args:
        images: names.
        classes: names.
        hit: [num_images, C] int64, of the class and predicted as it.
        guessed: [num_images, C] predicted as the class.
        true: [num_images, C] of the class.
    """

    images: list[str]
    classes: list[str]
    hit: np.ndarray
    guessed: np.ndarray
    true: np.ndarray


def scores_of(areas: Areas, counts: np.ndarray) -> Scores:
    """Return mIoU, mean accuracy of the classes, accuracy of all pixels, and the IoU of each class.

    A class that is neither in the images nor predicted does not count, as in mmseg, which rounds to two digits.

    Args:
        counts: [num_images, B] how often each image counts.
    """
    once = np.ones((len(areas.images), 1), dtype=counts.dtype)
    often = np.concatenate([once, counts], axis=1).T.astype(np.float64)
    # Sums of pixels are exact: below 2 ** 53.
    hit, guessed, true = (often @ part.astype(np.float64) for part in (areas.hit, areas.guessed, areas.true))
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN
        iou = 100 * hit / (guessed + true - hit)  # [1 + B, C]
        found = {
            "miou": np.nanmean(iou, axis=1),
            "macc": 100 * np.nanmean(hit / true, axis=1),
            "aacc": 100 * hit.sum(axis=1) / true.sum(axis=1),
        }
    metrics = {name: Score(float(values[0]), values[1:]) for name, values in found.items()}
    by_class = {name: Score(float(iou[0, k]), iou[1:, k]) for k, name in enumerate(areas.classes)}
    return Scores(metrics, {"miou": by_class})
