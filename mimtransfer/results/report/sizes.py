"""AP by the size of objects: a chart of bars for each protocol and AP whose runs have it."""
from __future__ import annotations

import statistics

from mimtransfer.results.measurement import title_of
from mimtransfer.results.report.charts import Bars, Charts
from mimtransfer.results.rows import Cell, Column, Table

_SIZES = {"small": "small\n(< 32\u00b2 px)", "medium": "medium\n(32\u00b2 to 96\u00b2 px)",
          "large": "large\n(> 96\u00b2 px)"}  # fmt: skip


def size_figures(table: Table, charts: Charts) -> list[tuple[str, str, str]]:
    """Return (title, protocol, SVG) of each AP in the table that two sizes at least were measured of."""
    figures = []
    for column in table.columns:
        if column.metric not in ("box_ap", "mask_ap"):
            continue
        bars = [Bars(row.label, number, [_value(row.cells[column], f"{column.metric}_{size}") for size in _SIZES])
                for number, row in enumerate(table.rows) if column in row.cells]
        shown = [at for at in range(len(_SIZES)) if any(bar.values[at] is not None for bar in bars)]
        if len(shown) < 2:
            continue
        groups = [f"{said}{_objects(table, column, size)}" for at, (size, said) in enumerate(_SIZES.items())
                  if at in shown]
        bars = [bar._replace(values=[bar.values[at] for at in shown]) for bar in bars]
        title = title_of(column.metric)
        drawn = charts.bars([bar for bar in bars if any(bar.values)], groups, "", title)
        figures.append((f"{title} by object size", column.protocol, drawn))
    return figures


def _objects(table: Table, column: Column, size: str) -> str:
    """Say how many objects the AP of a size rests on, where all records of a column say the same."""
    name = f"{column.metric}_{size}"
    found = [run.record["metrics"][name].get("objects") for row in table.rows if column in row.cells
             for run in row.cells[column].runs if name in run.record["metrics"]]
    if len(set(found)) != 1 or type(found[0]) is not int:
        return ""
    return f"\n{found[0]:,} object{'s' * (found[0] != 1)}"


def _value(cell: Cell, metric: str) -> tuple[float, float | None] | None:
    """Return mean and standard deviation over the runs of a cell that have a metric."""
    found = [run.record["metrics"][metric]["value"] for run in cell.runs if metric in run.record["metrics"]]
    if not found:
        return None
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None
