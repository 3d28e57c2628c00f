"""Points of learning curves, as a study has measured them: one JSON file, read as data that anyone may have written."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.record import is_number
from mimtransfer.stored import read_object

KIND, SCHEMA = "curves", 1
COSTS = ("images", "cpu_s", "wall_s", "gflop")
END = "end"  # the mark of the last iteration
_FIX = "write it again with tools/time_to_accuracy.py"


class Point(NamedTuple):
    """One mark of one run.

    Attributes:
        cost: name -> images, seconds or GFLOP until then.
        scores: task -> points of 0 to 100.
    """

    contender: str
    seed: int
    mark: str
    cost: Mapping[str, float]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Curves:
    """What a study has measured.

    Attributes:
        labels: contender -> what it is called, in the order of the suite.
        tasks: task -> its metric and protocol, the first decides.
        failed: run or evaluation -> why.
    """

    title: str
    baseline: str
    clock: str
    suite: str
    device: str
    labels: Mapping[str, str]
    tasks: Mapping[str, Mapping[str, str]]
    points: tuple[Point, ...]
    failed: Mapping[str, str]


def read_points(path: str | Path) -> Curves:
    """Read a file of points.

    Raises:
        UserError: it is no such file, or one of its values is of another kind.
    """
    texts = dict.fromkeys(("kind", "title", "baseline", "clock", "suite", "device"), str)
    stored = read_object(path, {**texts, "schema": int, "labels": dict, "tasks": dict, "points": list, "failed": dict},
                         _FIX)
    return parse(stored, str(path))


def compared_with(curves: Curves, baseline: str | None) -> Curves:
    """Return the curves with another baseline; None keeps it.

    Raises:
        UserError: no contender has this name.
    """
    if baseline is None:
        return curves
    if baseline not in curves.labels:
        hint = near_matches(baseline, curves.labels) or f"they have {', '.join(curves.labels)}"
        raise UserError(f"--baseline {baseline}: the points are of no such contender; {hint}")
    return replace(curves, baseline=baseline)


def parse(stored: Mapping[str, Any], where: str) -> Curves:
    """Check what `read_points` has read, or what is to be written.

    Raises:
        UserError: as `read_points`.
    """
    if stored["kind"] != KIND or stored["schema"] != SCHEMA:
        raise UserError(f"{where}: got kind {stored['kind']!r} of schema {stored['schema']!r}, expected {KIND!r} of "
                        f"{SCHEMA}; {_FIX}")
    if stored["clock"] not in ("cpu", "wall"):
        raise UserError(f"{where}: the clock is {stored['clock']!r}, expected 'cpu' or 'wall'; {_FIX}")
    for name in ("labels", "failed"):
        if not all(isinstance(text, str) for text in stored[name].values()):
            raise UserError(f"{where}: {name!r} holds more than texts; {_FIX}")
    for task, about in stored["tasks"].items():
        names = ("metric", "protocol", "fingerprint")
        if not (isinstance(about, dict) and all(isinstance(about.get(name), str) for name in names)):
            raise UserError(f"{where}: task {task!r} has not the texts metric, protocol and fingerprint; {_FIX}")
    points = tuple(_point(point, stored, f"{where}: point {number}") for number, point in enumerate(stored["points"]))
    keys = [(point.contender, point.seed, point.mark) for point in points]
    if twice := [key for key, number in Counter(keys).items() if number > 1]:
        raise UserError(f"{where}: two points are {twice[0]}; {_FIX}")
    texts = {key: stored[key] for key in ("title", "baseline", "clock", "suite", "device")}
    return Curves(**texts, labels=stored["labels"], tasks=stored["tasks"], points=points, failed=stored["failed"])


def _point(point: Any, stored: Mapping[str, Any], where: str) -> Point:
    if not isinstance(point, dict):
        raise UserError(f"{where} is no object; {_FIX}")
    scores: Any = point.get("scores")
    right = (isinstance(point.get("contender"), str) and point["contender"] in stored["labels"]
             and type(point.get("seed")) is int and isinstance(point.get("mark"), str) and isinstance(scores, dict)
             and scores.keys() <= stored["tasks"].keys())
    if not right:
        raise UserError(f"{where}: got {repr(point)[:120]}, expected a contender with a label, a seed, a mark, and "
                        f"scores of the tasks; {_FIX}")
    cost = {key: point.get(key) for key in COSTS}
    numbers = [*cost.values(), *scores.values()]
    if not all(is_number(number) and math.isfinite(number) and number >= 0 for number in numbers):
        raise UserError(f"{where}: got {repr((cost, scores))[:200]}, expected finite numbers from 0 on; {_FIX}")
    return Point(point["contender"], point["seed"], point["mark"], cost, scores)  # type: ignore[arg-type]
