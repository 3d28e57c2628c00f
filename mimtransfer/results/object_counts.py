"""How many objects a COCO score by size rests on: an AP of 40 may be that of a single one."""
from __future__ import annotations

from typing import Any

# As COCO's evaluation has them, in pixels of area; an object on a border counts in both.
RANGES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


def with_counts(metrics: dict[str, dict[str, Any]], evaluator: Any) -> dict[str, dict[str, Any]]:
    """Add `objects`, the number of ground-truth objects, to each AP by size.

    Args:
        metrics: `{"box_ap_small": {"value": 31.2, "unit": "points"}, ...}`.
        evaluator: mmengine's, after it has computed them; one without COCO's ground truth adds nothing.
    """
    counts = _counts(evaluator)
    for name, metric in metrics.items():
        size = name.rpartition("_")[2]
        if "_ap_" in name and size in counts:
            metric["objects"] = counts[size]
    return metrics


def _counts(evaluator: Any) -> dict[str, int]:
    found = [metric for metric in getattr(evaluator, "metrics", ()) if getattr(metric, "_coco_api", None) is not None]
    if len(found) != 1:  # of two nobody says which one the scores are of
        return {}
    metric = found[0]
    images, classes = getattr(metric, "img_ids", None), getattr(metric, "cat_ids", None)
    images, classes = (None if ids is None else set(ids) for ids in (images, classes))
    areas = [entry["area"] for entry in metric._coco_api.anns.values()
             if not entry.get("iscrowd")  # COCO's evaluation overwrites a field `ignore` by it
             and (images is None or entry["image_id"] in images)
             and (classes is None or entry["category_id"] in classes)]
    return {size: sum(low <= area <= high for area in areas) for size, (low, high) in RANGES.items()}
