"""Learning curves of a run, from the scalars that mmengine's local backend logs; standard library only."""
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mimtransfer.results.metrics import standard_metrics
from mimtransfer.stored_json import parse_json

MAX_POINTS = 100


def read_curves(
    work_dir: str | Path, schedule: Mapping[str, int | None], since: str | None = None
) -> dict[str, list[list[float]]]:
    """Read `loss` and the metrics of all evaluations of a run, over its resumes.

    Args:
        work_dir: holds `<time>/vis_data/scalars.json` for each process that worked on the run.
        schedule: `epochs` and `iters` of the run; evaluations that are logged by epoch are placed by them.
        since: start of the run in ISO format; logs that ended before are those of another run in the same folder.

    Returns:
        name -> `[[iteration, value], ...]`, sorted; of an iteration logged twice the later counts. Values are averaged
        in as many as `MAX_POINTS` groups.
    """
    length = schedule["iters"] / schedule["epochs"] if schedule["epochs"] and schedule["iters"] else None
    begin = datetime.fromisoformat(since).timestamp() if since else 0.0
    found: dict[str, dict[float, float]] = {}
    # A test's folder has the metrics of weights whose iteration it does not know.
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        if not path.is_file():
            continue
        lines = list(_lines(path)) if path.stat().st_mtime >= begin else []
        by_epoch = any("epoch" in line for line in lines)
        losses = [line for line in lines if "iter" in line and math.isfinite(line.get("loss", math.nan))]
        if not losses:
            continue
        for line in losses:
            found.setdefault("loss", {})[line["iter"]] = line["loss"]
        for line in lines:
            step = line.get("step")
            if "iter" in line or step is None or (by_epoch and length is None):
                continue
            for name, metric in standard_metrics(line).items():
                found.setdefault(name, {})[step * length if by_epoch else step] = metric["value"]
    return {name: _thinned(sorted(points.items())) for name, points in found.items()}


def curves_of(record: dict[str, Any], folder: str | Path) -> dict[str, list[list[float]]]:
    """Return the curves in a record, or, when it has none, those of the logs beside it, in `folder`."""
    return record["curves"] or read_curves(folder, record["schedule"])


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


def _thinned(points: list[tuple[float, float]]) -> list[list[float]]:
    size = -(-len(points) // MAX_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [[group[-1][0], float(f"{sum(value for _, value in group) / len(group):.6g}")] for group in groups]
