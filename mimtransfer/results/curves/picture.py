"""One picture of learning curves: a row of charts for each task, a column for each cost; bands are over seeds."""
from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mimtransfer.results.curves.points import Curves
from mimtransfer.results.curves.reach import Standing, mean_curve, standings, target_of
from mimtransfer.results.measurement import title_of
from mimtransfer.results.report.charts import plain
from mimtransfer.results.report.colours import line_style, slots_of

_WIDTH, _HEIGHT = 3.9, 2.9  # inches, of a chart


def axes_of(clock: str) -> dict[str, tuple[str, float, str]]:
    """Return cost -> title, factor to what is printed, and its unit; the time first.

    Args:
        clock: `cpu` or `wall`.
    """
    time = "training time, CPU minutes" if clock == "cpu" else "training time, minutes"
    return {f"{clock}_s": (time, 1 / 60, "min"), "gflop": ("operations, PFLOP", 1e-6, "PFLOP"),
            "images": ("images seen, millions", 1e-6, "M")}


def draw(curves: Curves) -> Figure:
    """Draw mean curves with bands of one standard deviation over seeds, the baseline's final score dashed, and a ring
    where a mean curve reaches it.
    """
    columns, tasks = axes_of(curves.clock), list(curves.tasks)
    figure = Figure(figsize=(_WIDTH * len(columns), _HEIGHT * len(tasks) + 0.5), layout="constrained")
    charts = figure.subplots(len(tasks), len(columns), squeeze=False, sharey="row")
    for row, task in zip(charts, tasks):
        found = standings(curves, task)
        for axes, (cost, (title, factor, _)) in zip(row, columns.items()):
            _chart(axes, curves, task, found, cost, factor)
            axes.set_xlabel(title)
        row[0].set_ylabel(f"{title_of(curves.tasks[task]['metric'])} ({task})")
    lines = {line.get_label(): line for axes in charts.flat for line in axes.get_lines()
             if not str(line.get_label()).startswith("_")}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(4, len(lines)), frameon=False)
    return figure


def svg(figure: Figure) -> str:
    """Return a figure as SVG, the same text in each run."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "curves"}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return out.getvalue()


def _chart(axes: Axes, curves: Curves, task: str, found: Sequence[Standing], cost: str, factor: float) -> None:
    plain(axes)
    target = target_of(curves, task)
    if target is not None:
        axes.axhline(target, color="#888888", linewidth=0.9, linestyle=(0, (4, 3)))
    names = list(curves.labels)
    slots = dict(zip(names, slots_of([curves.labels[name] for name in names])))
    for standing in found:
        style = line_style(slots[standing.name])
        points = mean_curve(curves, standing.name, task, cost)
        x, y = [point.x * factor for point in points], [point.y for point in points]
        label = standing.label + ("" if standing.ended else " (not ended)")
        axes.plot(x, y, marker="o", markersize=2.5, linewidth=1.4, label=label, **style)
        if all(point.std is not None for point in points):
            low, high = ([point.y + sign * (point.std or 0.0) for point in points] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        crossing = standing.reached.get(cost)
        if crossing is not None and target is not None and standing.name != curves.baseline:
            height = points[0].y if crossing.at_most else target
            axes.plot(crossing.x * factor, height, "o", markersize=8, fillstyle="none", color=style["color"])
