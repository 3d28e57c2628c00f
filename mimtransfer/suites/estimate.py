"""What the cells that are to run will cost, from the records of earlier runs."""
from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.results.description import backbone_of, protocol_of
from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.results.record import FILE_NAME, read_record
from mimtransfer.suites.state import State
from mimtransfer.suites.suite import Cell


@dataclass(frozen=True)
class Estimate:
    """Wall seconds of a run, and what they come from: `same config`, or `like RUN`, scaled by iterations or epochs."""

    seconds: float
    source: str


class Costs:
    """Records of earlier runs.

    Args:
        places: folders that hold records, two levels deep at most; those that do not exist are passed over.
    """

    def __init__(self, places: Iterable[str | Path]) -> None:
        self.records: list[dict[str, Any]] = []
        paths = {path.resolve() for place in map(Path, places) for depth in ("", "*/", "*/*/")
                 for path in [*place.glob(f"{depth}{FILE_NAME}"), *place.glob(f"{depth}*.json")]}
        for path in sorted(paths):
            if path.name in ("cell.json", "codebook.json") or path.stat().st_size > 1 << 20:
                continue
            try:
                self.records.append(read_record(path))
            except UserError:  # no record, or of another version
                continue
        self.records = [record for record in self.records if record["cost"]["wall_s"]]

    def estimate(self, cell: Cell, config: Mapping[str, Any], flat: Mapping[str, Any]) -> Estimate | None:
        """Return what a run will take, or None when nothing like it has run."""
        found = [record for record in self.records if record["protocol"]["fingerprint"] == fingerprint(flat)]
        if found:
            return Estimate(statistics.median(record["cost"]["wall_s"] for record in found), "same config")
        arch, protocol = backbone_of(config)["arch"], protocol_of(config)
        length, unit = _length(config)
        alike = [
            record for record in self.records
            if record["kind"] == cell.kind and record["backbone"]["arch"] == arch
            and (record["protocol"]["name"] == protocol or _part(record, config) == _part(None, config))
            and (unit is None or record["schedule"][unit])
        ]  # fmt: skip
        if not alike:
            return None
        newest = max(alike, key=lambda record: record["finished_at"])
        scale = length / newest["schedule"][unit] if unit else 1.0
        return Estimate(newest["cost"]["wall_s"] * scale, f"like {newest['label']}")


def _length(config: Mapping[str, Any]) -> tuple[float, str | None]:
    loop = config.get("train_cfg") or {}
    if loop.get("max_epochs"):
        return loop["max_epochs"], "epochs"
    return (loop["max_iters"], "iters") if loop.get("max_iters") else (1.0, None)


def _part(record: Mapping[str, Any] | None, config: Mapping[str, Any]) -> tuple:
    """Return what two runs must share to take about the same time: the kind of model and the data."""
    keys = ("model.type", "train_dataloader.dataset.type", "eval_dataloader.dataset.type")
    if record is not None:
        return tuple(str(record["protocol"]["config"].get(key)).rpartition(".")[2] for key in keys)
    loaders = [config.get("train_dataloader"), config.get("val_dataloader") or config.get("test_dataloader")]
    kinds = [(config.get("model") or {}).get("type")]
    kinds += [((loader or {}).get("dataset") or {}).get("type") for loader in loaders]
    return tuple(str(kind).rpartition(".")[2] for kind in kinds)


def makespan(cells: Iterable[Cell], states: Mapping[str, State], seconds: Mapping[str, float], slots: int) -> float:
    """Return the wall seconds until all cells are done, each started as soon as what it needs and a slot are there."""
    pending = [cell for cell in cells if states[cell.name].name != "done"]
    ended = {name for name, state in states.items() if state.name == "done"}
    running: list[tuple[float, str, int]] = []  # end, name, slots
    now, free = 0.0, slots
    while pending or running:
        for cell in list(pending):
            width = min(cell.gpus, slots)
            if width <= free and ended.issuperset(cell.after):
                pending.remove(cell)
                free -= width
                running.append((now + seconds.get(cell.name, 0.0), cell.name, width))
        running.sort()
        now, name, width = running.pop(0)
        ended.add(name)
        free += width
    return now
