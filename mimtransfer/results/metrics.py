"""Names and units of metrics: what mmdet and mmseg call them, what a record calls them, what the table prints."""
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """How a raw metric becomes one of ours."""

    name: str
    factor: float  # raw -> points in 0 to 100


def _average_precisions(prefix: str, name: str) -> dict[str, Metric]:
    return {
        f"{prefix}{raw}": Metric(f"{name}{ours}", 100.0)
        for raw, ours in (("", ""), ("_50", "50"), ("_75", "75"), ("_s", "_small"), ("_m", "_medium"), ("_l", "_large"))
    }


# The raw name without what precedes the slash (`coco/`), which only says who computed it.
_FROM_RAW = {
    **_average_precisions("bbox_mAP", "box_ap"),
    **_average_precisions("segm_mAP", "mask_ap"),
    # LVIS
    "bbox_AP": Metric("box_ap", 100.0),
    "segm_AP": Metric("mask_ap", 100.0),
    "mIoU": Metric("miou", 1.0),
    "mAcc": Metric("macc", 1.0),
    "aAcc": Metric("aacc", 1.0),
    "top1": Metric("top1", 1.0),
    "top5": Metric("top5", 1.0),
    # the votes of k-NN are no classifier that was trained
    "knn/top1": Metric("knn_top1", 1.0),
    "knn/top5": Metric("knn_top5", 1.0),
    # robustness
    **{name: Metric(name, 1.0)
       for name in ("clean_top1", "corruption_error", "mce", "relative_mce", "fgsm_top1", "pgd_top1")},
}
_TITLES = {
    "top1": "top-1", "top5": "top-5",
    "knn_top1": "k-NN top-1", "knn_top5": "k-NN top-5",
    "clean_top1": "clean top-1", "corruption_error": "corruption error", "mce": "mCE", "relative_mce": "relative mCE",
    "fgsm_top1": "FGSM top-1", "pgd_top1": "PGD top-1",
    "box_ap": "box AP", "mask_ap": "mask AP", "miou": "mIoU", "macc": "mAcc", "aacc": "aAcc",
}
# Errors, of which less is better; of everything else more is.
_ERRORS = ("corruption_error", "mce", "relative_mce")
# What the table shows unless it is asked for more, in this order.
PRIMARY = ("knn_top1", "top1", "clean_top1", "corruption_error", "mce", "fgsm_top1", "pgd_top1", "box_ap", "mask_ap",
           "miou")


NO_DETECTIONS = "no detections"  # the note of a metric that is 0 because nothing was found in the whole data set


def standard_metrics(raw: Mapping[str, Any], empty: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Return `{"box_ap": {"value": 31.2, "unit": "points"}, ...}` from an evaluator's output.

    Args:
        raw: the output.
        empty: names in it that `without_detections` gave; their metrics get a `note`.

    COCO reports -1 where no ground truth of that size exists; such entries, and those that are not finite, are left
    out.
    """
    found = {}
    for key, value in raw.items():
        metric = _FROM_RAW.get(key) or _FROM_RAW.get(key.rpartition("/")[2])
        if metric is not None and _is_number(value) and value >= 0:
            # 0.312 * 100 is 31.200000000000003, and mmseg averages in single precision
            found[metric.name] = {"value": round(float(value) * metric.factor, 6), "unit": "points"}
            if key in empty:
                found[metric.name]["note"] = NO_DETECTIONS
    return found


def raw_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluator's output as JSON can hold it: finite numbers and strings."""
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in metrics.items()}
    return {str(key): value for key, value in plain.items() if isinstance(value, str) or _is_number(value)}


def without_detections(raw: Mapping[str, Any], evaluator: Any) -> dict[str, float]:
    """Return the raw entries, all 0, that mmdet's CocoMetric leaves out when a detector finds nothing in the whole data
    set.

    Args:
        raw: output of the evaluator.
        evaluator: its config, a dictionary or a list of them.
    """
    missing = {}
    for part in evaluator if isinstance(evaluator, list | tuple) else [evaluator]:
        if (
            not isinstance(part, Mapping)
            or str(part.get("type")).rpartition(".")[2] != "CocoMetric"
            or part.get("format_only")
        ):
            continue
        wanted = part.get("metric", "bbox")
        prefix = part.get("prefix") or "coco"
        for name in (wanted,) if isinstance(wanted, str) else wanted:
            key = f"{prefix}/{name}_mAP"
            if name in ("bbox", "segm") and key not in raw:
                missing[key] = 0.0
    return missing


def title_of(name: str) -> str:
    """Return the heading of a metric's column."""
    return _TITLES.get(name, name.replace("box_ap", "box AP").replace("mask_ap", "mask AP").replace("_", " "))


def lower_is_better(name: str) -> bool:
    """Say whether a metric is an error."""
    return name in _ERRORS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
