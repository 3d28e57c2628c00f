"""What a run says at its end, in a few lines: score, cost, where the files are."""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimtransfer.datasets.tree import some
from mimtransfer.results.measurement import PRIMARY, title_of

_WIDTH = 72


def closing_box(
    record: Mapping[str, Any], work_dir: str | Path, curves: bool = False, of_training: bool = False,
    unreadable: Sequence[str] = (),
) -> str:
    """Return the lines for the end of the log; the path of the record itself stands before them.

    Args:
        record: of the run.
        work_dir: that the paths in the record are relative to.
        curves: there are files of TensorBoard.
        of_training: the run was a test, and its cost is that of the training before.
        unreadable: names of the images that others took the place of.
    """
    seed = "" if record["seed"] is None else f", seed {record['seed']}"
    costs = ", ".join(_costs(record["cost"]))
    lines = [("score", ", ".join(scores_in_words(record["metrics"])) or "none: not evaluated"),
             ("cost", f"training: {costs}" if of_training and costs else costs)]
    files = record["files"]
    for name, path in (("checkpoint", (files["checkpoint"] or {}).get("path")), ("log", files["log"])):
        if path is not None:
            lines.append((name, os.path.join(work_dir, path)))  # an absolute one stays as it is
    if curves:
        lines.append(("curves", f"tensorboard --logdir {work_dir}"))
    if unreadable:
        number = "1 image, another took its" if len(unreadable) == 1 else f"{len(unreadable)} images, others took their"
        lines.append(("unreadable", f"{number} place: {some(unreadable)}"))
    title = f"+-- {record['label']}: {record['protocol']['name']}{seed} "
    body = [f"| {name:<10} {text}" for name, text in lines if text]
    return "\n".join([title.ljust(_WIDTH, "-"), *body, "+".ljust(_WIDTH, "-")])


def scores_in_words(metrics: Mapping[str, Mapping[str, Any]], most: int = 4) -> list[str]:
    """Return the main scores of a record's metrics, or else the first ones, e.g. `["box AP 6.8", "mask AP 3.7"]`."""
    main = [name for name in PRIMARY if name in metrics] or list(metrics)
    return [f"{title_of(name)} {_number(metrics[name])}" for name in main[:most]]


def speed(images_per_s: float) -> str:
    """Word a throughput with three digits."""
    return f"{images_per_s:.{0 if images_per_s >= 99.95 else 1 if images_per_s >= 9.995 else 2}f} images/s"


def significant(value: float, digits: int = 3) -> str:
    """Word a number with so many significant digits, a large one with all before the point and no exponent."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def duration(seconds: float) -> str:
    """Word a time in two parts at most: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _number(metric: Mapping[str, Any]) -> str:
    return f"{metric['value']:.1f}" if metric["unit"] == "points" else f"{metric['value']:.4f}"


def _costs(cost: Mapping[str, Any]) -> list[str]:
    """Word what is known of the cost; the hours are those of all processes together."""
    words = []
    if cost["wall_s"] is not None:
        kind = "GPU" if cost.get("device_type") == "cuda" else "device"
        hours = cost["wall_s"] * cost["processes"] / 3600
        devices = "" if cost["device"] is None else f" on {cost['processes']} x {cost['device']}"
        words.append(f"{duration(cost['wall_s'])}{devices} ({significant(hours)} {kind}-hours)")
    if cost["images_per_s"] is not None:
        words.append(speed(cost["images_per_s"]))
    if cost["peak_memory_bytes"] is not None:
        words.append(f"peak {significant(cost['peak_memory_bytes'] / 1e9, 2)} GB")
    return words
