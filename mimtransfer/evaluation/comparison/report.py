"""Say how two checkpoints compare: JSON, and lines that a person reads."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mimtransfer.evaluation.comparison.bootstrap import Score, Scores, interval, p_value
from mimtransfer.results.compare import holm
from mimtransfer.results.measurement import title_of

Entry = dict[str, dict[str, Any]]  # first, second, difference -> value, low, high; of the difference p, too


def compared(first: Scores, second: Scores | None, level: float) -> dict[str, Any]:
    """Return the intervals of the scores, and of the differences `second - first`.

    Args:
        first, second: of the same resamples; None where there is one checkpoint.
        level: of the intervals, in (0, 1).

    Returns:
        `metrics`: name -> entry; `classes`: name -> class -> entry, whose p are corrected by Holm for their number.
        None in the place of what is not defined.
    """
    metrics = {name: _entry(score, second and second.metrics[name], level) for name, score in first.metrics.items()}
    classes = {}
    for name, scores in first.classes.items():
        own = {label: _entry(score, second and second.classes[name][label], level) for label, score in scores.items()}
        tested = [entry["difference"] for entry in own.values() if entry.get("difference", {}).get("p") is not None]
        for difference, p in zip(tested, holm([difference["p"] for difference in tested])):
            difference["p"] = p
        classes[name] = own
    return {"metrics": metrics, "classes": classes}


def lines(found: Mapping[str, Any], names: tuple[str, ...], with_classes: bool) -> list[str]:
    """Return a line for each metric, with those of the classes below where they are asked for."""
    rows = [("", *names, *(["difference"] if len(names) == 2 else []))]
    for name, entry in found["metrics"].items():
        rows.append((title_of(name), *_cells(entry)))
        if with_classes:
            rows += [(f"  {label}", *_cells(own)) for label, own in found["classes"].get(name, {}).items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _entry(first: Score, second: Score | None, level: float) -> Entry:
    if second is None:
        return {"first": _described(first, level)}
    difference = Score(second.value - first.value, second.samples - first.samples)
    return {
        "first": _described(first, level),
        "second": _described(second, level),
        "difference": {**_described(difference, level), "p": _or_none(p_value(difference.samples))},
    }


def _described(score: Score, level: float) -> dict[str, Any]:
    low, high = interval(score.samples, level)
    return {"value": _or_none(score.value), "low": _or_none(low), "high": _or_none(high)}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cells(entry: Entry) -> list[str]:
    cells = []
    for name, said in entry.items():
        sign = "+" if name == "difference" else ""
        if said["value"] is None or said["low"] is None:
            cells.append("-")
            continue
        cells.append(f"{said['value']:{sign}.4f} [{said['low']:{sign}.4f}, {said['high']:{sign}.4f}]")
        if "p" in said:
            cells[-1] += f" p = {said['p']:.2g}"
    return cells
