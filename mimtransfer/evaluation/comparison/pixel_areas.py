"""The metric that counts the pixels of each class in each image: what mIoU is a function of, image by image."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mimtransfer.evaluation.comparison.stored import write_areas


class PixelAreas(BaseMetric):
    """Write a file with the pixels of each class in each image, as mmseg counts them; it adds no score.

    Args:
        path: of the file.
        metric: the IoUMetric that counts, and knows the label that does not count.
    """

    default_prefix = ""

    def __init__(self, path: str | Path, metric: Any):
        super().__init__()
        self.path, self.metric = Path(path), metric

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each image.

        Args:
            data_batch: not looked at.
            data_samples: of mmseg, with `pred_sem_seg`, `gt_sem_seg` and `img_path`.
        """
        num_classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            guess = sample["pred_sem_seg"]["data"]
            label = sample["gt_sem_seg"]["data"].to(guess)
            count = self.metric.intersect_and_union
            hit, _, guessed, true = count(guess, label, num_classes, self.metric.ignore_index)
            self.results.append((str(sample["img_path"]), torch.stack([hit, guessed, true]).long().tolist()))

    def compute_metrics(self, results: list[tuple[str, list[list[int]]]]) -> dict[str, float]:
        """Write the file."""
        write_areas(self.path, list(self.dataset_meta["classes"]), results)
        return {}
