"""Top-k accuracy."""
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from mimtransfer.registry import METRICS


@METRICS.register_module()
class TopAccuracy(BaseMetric):
    """Share of images whose class is among the k with the highest scores, in points: `top1`, `top5`.

    Of classes with equal scores the lower number counts as higher: the result does not depend on the machine. A score
    that is NaN counts as higher, and an image whose class has such a score as wrong. No k is reported that is not below
    the number of classes. Where the data set's metainfo has `tested_classes`, class numbers, only those can be
    predicted: the classes of ImageNet-A and -R, by a classifier of ImageNet.

    Args:
        topk: values of k.
        prefix: what precedes the names, with a slash: `knn` gives `knn/top1`, in a record `knn_top1`.
        collect_device: of mmengine.
    """

    default_prefix = ""  # None would warn

    def __init__(self, topk: Sequence[int] = (1, 5), prefix: str | None = None, collect_device: str = "cpu"):
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Note the place of each image's class, 0 for the first.

        Args:
            data_batch: not looked at.
            data_samples: for each image dict(pred_score=[C] of the classes, gt_label=class number).
        """
        scores = torch.stack([sample["pred_score"] for sample in data_samples])
        labels = torch.tensor([sample["gt_label"] for sample in data_samples], device=scores.device)[:, None]
        tested = (self.dataset_meta or {}).get("tested_classes")
        if tested is not None:
            others = torch.ones(scores.shape[1], dtype=torch.bool, device=scores.device)
            others[list(tested)] = False
            scores = scores.masked_fill(others, -torch.inf)
        own = scores.gather(1, labels)
        lower = torch.arange(scores.shape[1], device=scores.device) < labels
        self.results += (~(scores <= own) | ((scores == own) & lower)).sum(1).tolist()  # with NaN nothing is `<=`

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Return name -> points."""
        places = torch.tensor(results)
        num_classes = len(self.dataset_meta.get("tested_classes") or self.dataset_meta["classes"])
        return {f"top{k}": 100.0 * float((places < k).double().mean()) for k in self.topk if k == 1 or k < num_classes}
