"""One colour for each row, the same in every report and chart: those of the methods here are fixed, by their labels."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence

# Okabe and Ito's colours, told apart by colour-blind readers too; a ninth row starts again with dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c8c8c")
_DASHES = ("-", "--", ":")
_GREY = len(COLOURS) - 1
_FIXED = {"MAE": 0, "MAE + FAMT": 1, "MAE + AMT": 2, "SimMIM": 3, "MAE + Semantic": 4, "MaPeT": 5, "MFM": 6,
          "random init": _GREY}  # fmt: skip


def slots_of(labels: Sequence[str]) -> list[int]:
    """Return a number for each row that decides its colour and dashes, see `line_style`.

    Labels of our methods have a fixed one, also with an architecture or a short code behind them. Others get one
    computed from the label, or the next free one: grey is left to `random init`, as long as colours last.
    """
    known = [_FIXED.get(label, _FIXED.get(label.partition(", ")[0].partition(" [")[0])) for label in labels]
    found: dict[int, int] = {}  # number of the row -> slot
    for number, slot in enumerate(known):
        if slot is not None and slot not in found.values():
            found[number] = slot
    for number, label in enumerate(labels):
        if number not in found:
            first = int(hashlib.sha256(label.encode()).hexdigest()[:8], 16) % _GREY
            rounds = range(len(labels) // _GREY + 2)
            free = (len(COLOURS) * turn + (first + step) % _GREY for turn in rounds for step in range(_GREY))
            found[number] = next(slot for slot in free if slot not in found.values())
    return [found[number] for number in range(len(labels))]


def colour_of(slot: int) -> str:
    """Return the colour of a slot."""
    return COLOURS[slot % len(COLOURS)]


def line_style(slot: int) -> dict:
    """Return colour and dashes of a slot, for matplotlib."""
    dashes = _DASHES[min(slot // len(COLOURS), len(_DASHES) - 1)]
    return {"color": colour_of(slot), "linestyle": dashes, "clip_on": False}
