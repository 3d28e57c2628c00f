"""What is drawn of a detector's findings: which of them, at which size, and the file that says so beside the images.

A weak detector gives no score above a usual threshold, and an image without any box shows nothing of what it has
learned. So the best few are drawn in any case, and the file has their scores.
"""
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import BaseDataElement, InstanceData

from mimtransfer.files import write_atomically

FILE = "predictions.json"  # beside the folder `vis_image`
_SIDE = 512  # pixels; names and scores are not readable on smaller images


def best_detections(found: InstanceData, score_threshold: float, at_least: int) -> InstanceData:
    """Return the detections above a score, and the best ones also below it where those are too few.

    Args:
        found: with `scores`, in any order.
        at_least: so many are kept where there are so many.
    """
    order = torch.argsort(found.scores, descending=True, stable=True)
    above = int((found.scores > score_threshold).sum())
    return found[order[: max(above, at_least)]]


def enlargement(width: int, height: int) -> int:
    """Return by how much an image is enlarged before boxes and names are drawn on it, 1 for large images."""
    return max(1, math.ceil(_SIDE / max(width, height)))


def enlarged(sample: BaseDataElement, factor: int) -> BaseDataElement:
    """Return a sample whose boxes and masks are larger by an integer factor; it shares nothing that is changed."""
    larger = sample.clone()
    for name in ("gt_instances", "pred_instances"):
        if name not in larger:
            continue
        instances = larger.get(name).clone()  # mmengine's clone of the sample holds the same instances
        if "bboxes" in instances:
            boxes = instances.bboxes
            instances.bboxes = getattr(boxes, "tensor", boxes) * factor  # mmdet's own boxes hold a tensor
        if "masks" in instances:
            masks = instances.masks
            if isinstance(masks, torch.Tensor):
                masks = masks.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
            else:
                masks = masks.resize((masks.height * factor, masks.width * factor))
            instances.masks = masks
        setattr(larger, name, instances)
    return larger


class DrawnFile:
    """`predictions.json`: for each drawn image its source, the rule, and how many detections of which scores.

    Args:
        folder: the `vis_data` of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder, FILE)
        self.images: dict[str, dict[str, Any]] = {}

    def add(self, name: str, **entry: Any) -> None:
        """Add an image under the name of its file, without the ending, and write the file."""
        self.images[name] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps({"images": self.images}, indent=1) + "\n")
