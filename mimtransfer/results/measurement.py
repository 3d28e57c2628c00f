"""What a run measures: scores under their own names, learning curves, and the cost of training.

torch is imported only to measure costs, so that tables can use the names of metrics without it.
"""
import math
import resource
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mimtransfer.results.record import is_number
from mimtransfer.stored import parse_json
from mimtransfer.training.batch import RESUMED_FROM

MAX_POINTS = 100  # of a learning curve

_COCO = {"mAP": "", "mAP_50": "50", "mAP_75": "75", "mAP_s": "_small", "mAP_m": "_medium", "mAP_l": "_large",
         "AP": ""}  # the last is of LVIS
_POINTS = ("top1", "top5", "clean_top1", "corruption_error", "mce", "relative_mce", "fgsm_top1", "pgd_top1")
# Of `OnlineEvaluationHook`, while pretraining.
_ONLINE = ("knn_top1", "linear_top1", "fast_knn_top1", "patch_knn_miou", "rankme", "image_contrast", "patch_contrast")
_CONTRASTS = ("online_image_contrast", "online_patch_contrast")
# The evaluator's name -> (ours, factor to points of 0 to 100). What precedes the slash (`coco/`) only says who computed
# it, except that the votes of k-NN are no classifier that was trained.
_FROM_RAW = {
    **{f"bbox_{raw}": (f"box_ap{ours}", 100.0) for raw, ours in _COCO.items()},
    **{f"segm_{raw}": (f"mask_ap{ours}", 100.0) for raw, ours in _COCO.items()},
    **{name: (name.lower(), 1.0) for name in ("mIoU", "mAcc", "aAcc")},
    **{f"depth/{raw}": (f"depth_{raw.replace('d1', 'delta1')}", 100.0) for raw in ("d1", "abs_rel", "rmse")},  # m: cm
    **{f"knn/{name}": (f"knn_{name}", 1.0) for name in ("top1", "top5")},
    **{name: (name, 1.0) for name in _POINTS},
    **{f"online/{name}": (f"online_{name}", 1.0) for name in _ONLINE},
}
# Of metrics that are no points of 0 to 100, by our name.
_UNITS = {"online_rankme": "dimensions", "depth_rmse": "cm", **dict.fromkeys(_CONTRASTS, "share")}
_TITLES = {
    "top1": "top-1", "top5": "top-5", "knn_top1": "k-NN top-1", "knn_top5": "k-NN top-5",
    "online_knn_top1": "online k-NN top-1", "online_linear_top1": "online linear top-1",
    "online_fast_knn_top1": "online k-NN top-1, fast", "online_patch_knn_miou": "online patch k-NN mIoU",
    "online_rankme": "RankMe", "online_image_contrast": "contrast over images",
    "online_patch_contrast": "contrast over patches", "fgsm_top1": "FGSM top-1", "pgd_top1": "PGD top-1",
    "clean_top1": "clean top-1", "corruption_error": "corruption error", "mce": "mCE", "relative_mce": "relative mCE",
    "box_ap": "box AP", "mask_ap": "mask AP", "miou": "mIoU", "macc": "mAcc", "aacc": "aAcc",
    "depth_rmse": "RMSE (cm)", "depth_abs_rel": "AbsRel (%)", "depth_delta1": "delta1 (%)",
}
# Errors, of which less is better; of everything else more is.
_ERRORS = ("corruption_error", "mce", "relative_mce", "depth_rmse", "depth_abs_rel")
# What the table shows unless it is asked for more, in this order.
PRIMARY = ("knn_top1", "top1", "clean_top1", "corruption_error", "mce", "fgsm_top1", "pgd_top1", "box_ap", "mask_ap",
           "miou", "depth_rmse", "depth_abs_rel", "depth_delta1")


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
        name, factor = _FROM_RAW.get(key) or _FROM_RAW.get(key.rpartition("/")[2]) or (None, 0.0)
        if name is not None and is_number(value) and value >= 0:
            # 0.312 * 100 is 31.200000000000003, and mmseg averages in single precision
            found[name] = {"value": round(float(value) * factor, 6), "unit": _UNITS.get(name, "points")}
            if key in empty:
                found[name]["note"] = NO_DETECTIONS
    return found


def raw_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluator's output as JSON can hold it: finite numbers and strings."""
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in metrics.items()}
    return {str(key): value for key, value in plain.items() if isinstance(value, str) or is_number(value)}


def without_detections(raw: Mapping[str, Any], evaluator: Any) -> dict[str, float]:
    """Return the raw entries, all 0, that mmdet's CocoMetric leaves out when a detector finds nothing in the whole data
    set.

    Args:
        raw: output of the evaluator.
        evaluator: its config, a dictionary or a list of them.
    """
    missing = {}
    for part in evaluator if isinstance(evaluator, list | tuple) else [evaluator]:
        is_coco = isinstance(part, Mapping) and str(part.get("type")).rpartition(".")[2] == "CocoMetric"
        if not is_coco or part.get("format_only"):
            continue
        wanted = part.get("metric", "bbox")
        for name in (wanted,) if isinstance(wanted, str) else wanted:
            key = f"{part.get('prefix') or 'coco'}/{name}_mAP"
            if name in ("bbox", "segm") and key not in raw:
                missing[key] = 0.0
    return missing


def title_of(name: str) -> str:
    """Return the heading of a metric's column."""
    return _TITLES.get(name, name.replace("box_ap", "box AP").replace("mask_ap", "mask AP").replace("_", " "))


def lower_is_better(name: str) -> bool:
    """Say whether a metric is an error."""
    return name in _ERRORS


def read_curves(
    work_dir: str | Path, schedule: Mapping[str, int | None], since: str | None = None
) -> dict[str, list[list[float | None]]]:
    """Read `loss` and the metrics of all evaluations of a run, over its resumes, from mmengine's scalars.

    Args:
        work_dir: holds `<time>/vis_data/scalars.json` for each process that worked on the run.
        schedule: `epochs` and `iters` of the run; evaluations that are logged by epoch are placed by them.
        since: start of the run in ISO format; logs that ended before are those of another run in the same folder.

    Returns:
        name -> `[[iteration, value], ...]`, sorted; of an iteration logged twice the later counts. Values are averaged
        in as many as `MAX_POINTS` groups. A loss that was not finite is None.
    """
    length = schedule["iters"] / schedule["epochs"] if schedule["epochs"] and schedule["iters"] else None
    begin = datetime.fromisoformat(since).timestamp() if since else 0.0
    found: dict[str, dict[float, float | None]] = {}
    # A test's folder has the metrics of weights whose iteration it does not know.
    for path in sorted(filter(Path.is_file, Path(work_dir).glob("*/vis_data/scalars.json"))):
        lines = list(_lines(path)) if path.stat().st_mtime >= begin else []
        by_epoch = any("epoch" in line for line in lines)
        if not any(_has_loss(line) for line in lines):
            continue
        for line in lines:
            step: Any = line.get("step")
            before: Any = line.get(RESUMED_FROM)
            if is_number(before) and is_number(step) and before > 0:
                _count_anew(found, step, before, by_epoch)
            if _has_loss(line):
                found.setdefault("loss", {})[line["iter"]] = line["loss"] if math.isfinite(line["loss"]) else None
            if "iter" in line or step is None or (by_epoch and length is None):
                continue
            for name, metric in standard_metrics(line).items():
                found.setdefault(name, {})[step * length if by_epoch else step] = metric["value"]
    return {name: _thinned(sorted(points.items())) for name, points in found.items()}


def _has_loss(line: Mapping[str, Any]) -> bool:
    return "iter" in line and isinstance(line.get("loss"), (int, float))


def _count_anew(curves: dict[str, dict[float, float | None]], now: int, before: int, by_epoch: bool) -> None:
    """Move points to the iterations of a run that was resumed with another batch: there `before` is `now`.

    Later ones were trained again. Evaluations that are logged by epoch stand where they belong already.
    """
    for name, points in curves.items():
        if name == "loss" or not by_epoch:
            curves[name] = {step * now / before: value for step, value in points.items() if step <= before}


def curves_of(record: dict[str, Any], folder: str | Path) -> dict[str, list[list[float | None]]]:
    """Return the curves in a record, or, when it has none, those of the logs beside it, in `folder`."""
    return record["curves"] or read_curves(folder, record["schedule"])


class CostMeter:
    """Measure training throughput between pauses, after a warm-up, and go on from an earlier process.

    Loading counts, validation and checkpointing do not: `pause` stops the clock, and it starts again after the next
    iteration (whose loading overlapped the pause) or with the next epoch. The accelerator is waited for at these edges
    only.

    Args:
        warmup: iterations at the start of each process that are not measured; at most a quarter of those to come.
        clock: seconds, monotonic.
        wait: called before the clock is read at an edge; by default it waits for the work of the CUDA device.
    """

    def __init__(
        self, warmup: int = 10, clock: Callable[[], float] = time.perf_counter, wait: Callable[[], None] | None = None
    ) -> None:
        self._max_warmup, self._clock, self._wait = warmup, clock, wait or synchronize
        self._born = clock()
        self._since: float | None = None
        self._pending = 0  # images since the clock started
        self.iterations = 0  # in this process
        self.images, self.seconds = 0, 0.0
        self._wall_before, self._peak, self._has_seen_peak = 0.0, 0, True
        self._warmup = warmup

    def begin(self, iterations_to_come: int) -> None:
        """Start the training loop."""
        self._warmup = min(self._max_warmup, iterations_to_come // 4)

    def begin_epoch(self) -> None:
        """Start an epoch: from here on loading counts, and so does the start of the workers."""
        if self.iterations >= self._warmup and self._since is None:
            self._start()

    def iteration(self, images: int) -> None:
        """Count an iteration that has just ended, with its images on this rank."""
        self.iterations += 1
        self._has_seen_peak = False
        if self._since is not None:
            self._pending += images
        elif self.iterations >= self._warmup:
            self._start()

    def see_peak(self) -> None:
        """Take the peak of the iterations since the last look; to be called before anyone resets it."""
        if not self._has_seen_peak:
            self._peak = max(self._peak, peak_memory())
            self._has_seen_peak = True

    def pause(self) -> None:
        """Stop the clock, right after an iteration."""
        self.see_peak()
        if self._since is not None:
            self._wait()
            self.seconds += self._clock() - self._since
            self.images += self._pending
            self._since = None

    @property
    def images_per_s(self) -> float | None:
        """Images a second on this rank; None when nothing was measured."""
        return self.images / self.seconds if self.images and self.seconds > 0 else None

    @property
    def wall_s(self) -> float:
        """Seconds since the run began, with validation and checkpoints, over all processes whose work it continues."""
        return self._wall_before + self._clock() - self._born

    @property
    def peak_memory_bytes(self) -> int:
        """Peak over all iterations so far; in a process without any, the peak of now."""
        return max(self._peak, 0 if self.iterations else peak_memory())

    def state(self) -> dict[str, Any]:
        """Return what the next process needs."""
        return {"images": self.images, "seconds": self.seconds, "wall_s": self.wall_s, "peak_memory_bytes": self._peak}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Add the work of an earlier process."""
        self.images += state["images"]
        self.seconds += state["seconds"]
        self._wall_before += state["wall_s"]
        self._peak = max(self._peak, state["peak_memory_bytes"])

    def _start(self) -> None:
        self._wait()
        self._since, self._pending = self._clock(), 0


def peak_memory() -> int:
    """Return the peak bytes allocated on the CUDA device, else resident in this process, loader workers not counted."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def num_images(data_batch: Any) -> int:
    """Count the images of a batch as mmengine's loaders give it.

    Args:
        data_batch: tensors or lists, in a dictionary (of branches, for semi-supervised detection) or a tuple; or a list
            of samples.
    """
    if isinstance(data_batch, Mapping):
        inputs = data_batch["inputs"] if "inputs" in data_batch else next(iter(data_batch.values()))
        return sum(len(branch) for branch in inputs.values()) if isinstance(inputs, Mapping) else len(inputs)
    samples = isinstance(data_batch, list) and isinstance(data_batch[0], Mapping)
    return len(data_batch if samples or hasattr(data_batch, "shape") else data_batch[0])


def synchronize() -> None:
    """Wait for the work of the CUDA device, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = parse_json(line)
        except ValueError:
            continue  # the last line of a process that was killed
        numbers = ("iter", "epoch", "step", "loss")
        if isinstance(values, dict) and all(_is_number(values.get(key, 0)) for key in numbers):
            yield values


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _thinned(points: list[tuple[float, float | None]]) -> list[list[float | None]]:
    size = -(-len(points) // MAX_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [_mean(group) for group in groups]


def _mean(group: list[tuple[float, float | None]]) -> list[float | None]:
    """Return the last iteration and the mean of a group; of one with values that are not finite, the first of them."""
    values = [value for _, value in group if value is not None]
    if len(values) < len(group):
        return [next(iteration for iteration, value in group if value is None), None]
    return [group[-1][0], float(f"{sum(values) / len(group):.6g}")]
