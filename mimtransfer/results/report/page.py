"""Put the report together: what `report.html.j2` shows, computed from a table."""
import hashlib
import os
from collections import defaultdict
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from mimtransfer import __version__
from mimtransfer.results.closing import significant, speed
from mimtransfer.results.compare import mark
from mimtransfer.results.description import RANDOM_INIT
from mimtransfer.results.label_shares import seed_text
from mimtransfer.results.measurement import PRIMARY, curves_of, title_of
from mimtransfer.results.record import Run
from mimtransfer.results.render import (
    NOTHING_FOUND,
    constant_costs,
    cost_text,
    difference_text,
    notes_of,
    prints_best,
)
from mimtransfer.results.report.charts import Charts, Dot, Line, axis_title_of
from mimtransfer.results.report.colours import colour_of, slots_of
from mimtransfer.results.report.label_shares import share_figures
from mimtransfer.results.report.pictures import KINDS, Picture, pictures_of
from mimtransfer.results.report.side_by_side import comparisons
from mimtransfer.results.report.sizes import size_figures
from mimtransfer.results.rows import HOURS, Cell, Table, pretraining_run


def html_page(table: Table, digits: int, title: str, folder: Path) -> str:
    """Return the report.

    Args:
        folder: where it will lie; its links to records and logs are relative to it.
    """
    slots = slots_of([row.label for row in table.rows])
    charts = Charts(slots)
    row_of = {
        run.path: number
        for number, row in enumerate(table.rows)
        for cell in [*row.cells.values(), *row.costs.values()]
        for run in cell.runs
    }
    chosen = _one_run_for_each(table, row_of)
    constant = constant_costs(table)
    together = {column.metric for column in table.columns} | {"loss"}  # curves of all runs in one chart
    return _template(table, digits, folder, slots).render(
        title=title,
        version=__version__,
        now=datetime.now(timezone.utc),
        table=table,
        notes=notes_of(table),
        tasks={task: [list(group) for _, group in groupby(columns, lambda column: column.protocol)]
               for task, columns in groupby(table.columns, lambda column: column.task)},
        costs={name: title for name, title in table.cost_titles.items() if name not in constant},
        constant=list(constant.values()),
        scatters=_scatters(table, charts),
        sizes=size_figures(table, charts),
        shares=share_figures(table, charts),
        curves=_curves(table, row_of, charts, together),
        picture_kinds=KINDS,
        pictures=_pictures(table, chosen),
        comparisons={protocol: list(group) for protocol, group in groupby(comparisons(table, chosen),
                                                                          lambda found: found.protocol)},
        protocols={run.record["protocol"]["fingerprint"]: run.record["protocol"] for run in table.runs},
        records=[(row_of[run.path], run) for run in sorted(table.runs, key=lambda run: row_of[run.path])],
        record_curves={run.path: _record_curves(run, row_of[run.path], charts, together) for run in table.runs},
        pretrainings={run.record["run_id"]: run for run in table.runs if run.record["kind"] == "pretrain"},
    )


def _template(table: Table, digits: int, folder: Path, slots: list[int]) -> jinja2.Template:
    """Return the template with what it calls; everything that it prints is escaped, except our own SVG and CSS."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mimtransfer.results.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def link(path: str | Path) -> tuple[str, str | None]:
        """Return the path from the report's folder, and as an address where there is such a file."""
        relative = Path(os.path.relpath(path, folder)).as_posix()
        return relative, quote(relative) if Path(path).is_file() else None

    environment.globals |= {
        "colour": lambda row: colour_of(slots[row]),
        "mark": mark,
        "title_of": title_of,
        "cost_text": cost_text,
        "speed": speed,
        "significant": significant,
        "nothing_found": NOTHING_FOUND,
        "difference_text": lambda cell: difference_text(cell, digits),
        "is_best": lambda column, cell: prints_best(table, column, cell, digits),
        "number": lambda value: f"{value:.{digits}f}",
        "explanation": lambda cell: _explanation(table, cell),
        "main_scores": _main_scores,
        "pretraining_run": pretraining_run,
        "link": link,
        "beside": lambda run, path: Path(run.path).parent / path,
        "anchor": lambda run: "r" + hashlib.sha256(run.path.encode()).hexdigest()[:10],
        "protocol_anchor": lambda fingerprint: f"p{fingerprint[:12]}",
    }
    return environment.get_template("report.html.j2")


def _explanation(table: Table, cell: Cell) -> str:
    """Return what a reader sees who points at a score."""
    lines = [f"seed {seed_text(run.record)}: {value:g}" for run, value in zip(cell.runs, cell.values)]
    if cell.test is not None:
        test = cell.test
        lines.append(f"against {table.baseline}, {test.pairs} pairs: {test.difference:+.3g}, 95 % confidence interval "
                     f"{test.low:+.3g} to {test.high:+.3g}, p = {test.p:.3g}, corrected {cell.p:.3g}")
    return "\n".join(lines)


def _main_scores(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{title_of(name)} {metrics[name]['value']:.{2 if name in PRIMARY else 4}f}"
                     for name in (*PRIMARY, "loss") if name in metrics)


def _scatters(table: Table, charts: Charts) -> list[tuple[str, str, str]]:
    """Return (title, protocol, SVG) of every column that has two scores whose cost is known."""
    figures = []
    for column in table.columns:
        dots = []
        for number, row in enumerate(table.rows):
            free = row.label.startswith(RANDOM_INIT)  # with an architecture behind it, perhaps
            if column in row.cells and (HOURS in row.costs or free):
                cell = row.cells[column]
                dots.append(Dot(row.label, number, 0.0 if free else row.costs[HOURS].mean, cell.mean, cell.std))
        if len(dots) > 1:
            drawn = charts.scatter(dots, table.cost_titles.get(HOURS, "hours"), axis_title_of(column.metric))
            figures.append((title_of(column.metric), column.protocol, drawn))
    return figures


def _curves(table: Table, row_of: dict[str, int], charts: Charts, shown: set[str]) -> list[tuple[str, str, str]]:
    """Return (title, what was trained, SVG) of each curve in `shown`."""
    found: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for run in table.runs:
        row, kind = row_of[run.path], run.record["kind"]
        name = "pretraining" if kind == "pretrain" else run.record["protocol"]["name"]
        title = f"{table.rows[row].label}, seed {run.record['seed']}"
        for curve, points in curves_of(run.record, Path(run.path).parent).items():
            if len(points) > 1 and curve in shown:
                found[kind, name, curve].append(Line(title, row, points))
    figures = []
    for (kind, name, curve), lines in found.items():
        several = kind == "pretrain" and len({line.row for line in lines}) > 1
        name += ", of different objectives" if several else ""
        figures.append((title_of(curve), name, charts.lines(lines, "iterations", title_of(curve))))
    return figures


def _record_curves(run: Run, row: int, charts: Charts, known: set[str]) -> list[tuple[str, str]]:
    """Return (title, SVG) of the curves of a run that no other chart shows."""
    curves = curves_of(run.record, Path(run.path).parent)
    return [(title_of(name), charts.lines([Line(title_of(name), row, points)], "iterations", title_of(name)))
            for name, points in curves.items() if len(points) > 1 and name not in known]


def _one_run_for_each(table: Table, row_of: dict[str, int]) -> dict[tuple[str, int], Run]:
    """Return (protocol, number of the row) -> the run whose pictures are shown: of the lowest seed."""
    chosen: dict[tuple[str, int], Run] = {}
    for run in table.runs:
        key = (run.record["protocol"]["name"], row_of[run.path])
        if key not in chosen or (run.record["seed"] or 0) < (chosen[key].record["seed"] or 0):
            chosen[key] = run
    return chosen


def _pictures(table: Table, chosen: dict[tuple[str, int], Run]) -> dict[str, list[tuple[int, str, Picture]]]:
    """Return kind -> (row, caption, picture), of those that stand alone."""
    found = defaultdict(list)
    for (protocol, number), run in sorted(chosen.items(), key=lambda item: item[0]):
        for picture in pictures_of(Path(run.path).parent):
            words = f"{table.rows[number].label}, {protocol}, seed {run.record['seed']}"
            found[picture.kind].append((number, words, picture))
    return found
