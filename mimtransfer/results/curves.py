"""Learning curves of a run, from the scalars that mmengine's local backend logs; standard library only."""
import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mimtransfer.results.metrics import standard_metrics

MAX_POINTS = 100


def read_curves(
    work_dir: str | Path, schedule: Mapping[str, int | None], since: str | None = None
) -> dict[str, list[list[float | None]]]:
    """Read `loss` and the metrics of all evaluations of a run, over its resumes.

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
    found: dict[str, dict[float, float]] = {}
    # A test's folder has the metrics of weights whose iteration it does not know.
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        lines = list(_lines(path)) if path.stat().st_mtime >= begin else []
        by_epoch = any("epoch" in line for line in lines)
        losses = [line for line in lines if "iter" in line and isinstance(line.get("loss"), (int, float))]
        if not losses:
            continue
        for line in losses:
            loss = line["loss"] if math.isfinite(line["loss"]) else None
            found.setdefault("loss", {})[line["iter"]] = loss
        for line in lines:
            step = line.get("step")
            if "iter" in line or step is None or (by_epoch and length is None):
                continue
            for name, metric in standard_metrics(line).items():
                found.setdefault(name, {})[step * length if by_epoch else step] = metric["value"]
    return {name: _thinned(sorted(points.items())) for name, points in found.items()}


def curves_of(record: dict[str, Any], folder: str | Path) -> dict[str, list[list[float | None]]]:
    """Return the curves in a record, or, when it has none, those of the logs beside it, in `folder`."""
    return record["curves"] or read_curves(folder, record["schedule"])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a process that was killed


def _thinned(points: list[tuple[float, float | None]]) -> list[list[float | None]]:
    size = -(-len(points) // MAX_POINTS)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [_mean(group) for group in groups]


def _mean(group: list[tuple[float, float | None]]) -> list[float | None]:
    """Return the last iteration and the mean of a group; at the first value that is not finite, where it is."""
    broken = [iteration for iteration, value in group if value is None]
    if broken:
        return [broken[0], None]
    return [group[-1][0], float(f"{sum(value for _, value in group) / len(group):.6g}")]
