"""The metric that counts the pixels of each class in each image: what mIoU is a function of, image by image."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from mimtransfer.evaluation.comparison.stored import write_areas


class PixelAreas(BaseMetric):
    """Write a file with the pixels of each class in each image; it adds no score.

    Args:
        path: of the file.
        ignore_index: label of pixels that do not count.
        collect_device: of mmengine.
    """

    default_prefix = ""

    def __init__(self, path: str | Path, ignore_index: int = 255, collect_device: str = "cpu"):
        super().__init__(collect_device)
        self.path, self.ignore_index = Path(path), ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each image.

        Args:
            data_batch: not looked at.
            data_samples: of mmseg, with `pred_sem_seg`, `gt_sem_seg` and `img_path`.
        """
        num_classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            guess = sample["pred_sem_seg"]["data"].flatten().long()
            label = sample["gt_sem_seg"]["data"].flatten().to(guess)
            counts = label != self.ignore_index
            guess, label = guess[counts], label[counts]
            parts = (guess[guess == label], guess, label)
            areas = [torch.bincount(part[(part >= 0) & (part < num_classes)], minlength=num_classes) for part in parts]
            self.results.append((str(sample["img_path"]), torch.stack(areas).tolist()))

    def compute_metrics(self, results: list[tuple[str, list[list[int]]]]) -> dict[str, float]:
        """Write the file."""
        write_areas(self.path, list(self.dataset_meta["classes"]), results)
        return {}
