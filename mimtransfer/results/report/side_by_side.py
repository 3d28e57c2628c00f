"""One image, its ground truth and what each row of the table finds in it, beside each other."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mimtransfer.results.record import Run
from mimtransfer.results.report.pictures import Picture, drawn_predictions, embedded
from mimtransfer.results.rows import Table


class Side(NamedTuple):
    """A part of a comparison: number of the row, None for the ground truth; what it is; the picture."""

    row: int | None
    words: str
    picture: Picture


class Comparison(NamedTuple):
    """The same image under one protocol; `rule` says which detections are drawn, "" of a segmentation."""

    protocol: str
    image: str
    rule: str
    sides: list[Side]


def comparisons(table: Table, chosen: Mapping[tuple[str, int], Run]) -> list[Comparison]:
    """Return the images that runs have drawn, each once with its ground truth, in the order of protocols and rows.

    Args:
        chosen: (protocol, number of the row) -> the run that stands for it.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for (protocol, row), run in sorted(chosen.items(), key=lambda item: item[0]):
        for entry, path in drawn_predictions(Path(run.path).parent):
            with Image.open(path) as opened:
                both = opened.convert("RGB")
            middle = entry["width"] if both.width == 2 * entry["width"] else 0  # 0: drawn without ground truth
            key = protocol, entry["image"]
            compared = found.setdefault(key, Comparison(*key, _rule(entry), []))
            if middle and not any(side.row is None for side in compared.sides):
                truth = embedded("prediction", both.crop((0, 0, middle, both.height)))
                compared.sides.insert(0, Side(None, "ground truth", truth))
            words = f"{table.rows[row].label}, seed {run.record['seed']}{_scores(entry)}"
            drawn = embedded("prediction", both.crop((middle, 0, both.width, both.height)))
            compared.sides.append(Side(row, words, drawn))
    return list(found.values())


def _rule(entry: Mapping[str, Any]) -> str:
    if "score_threshold" not in entry:
        return ""
    return (f"Drawn are detections with a score above the threshold of {100 * entry['score_threshold']:g} %, and the "
            f"best {entry['num_best']} of an image in any case; scores are in per cent.")


def _scores(entry: Mapping[str, Any]) -> str:
    """Return how many detections are drawn, and of which scores."""
    if "scores" not in entry:
        return ""
    scores = entry["scores"]
    if not scores:
        return ", no detections"
    above = sum(score > entry["score_threshold"] for score in scores)
    return (f", best {len(scores)} of {entry['found']}, scores {100 * scores[-1]:.1f} to {100 * scores[0]:.1f}, "
            f"{above or 'none'} above the threshold")
