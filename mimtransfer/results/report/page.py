"""Put the report together."""
from collections import defaultdict
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from mimtransfer import __version__
from mimtransfer.results.cells import Table
from mimtransfer.results.costs import HOURS
from mimtransfer.results.curves import curves_of
from mimtransfer.results.metrics import title_of
from mimtransfer.results.naming import RANDOM_INIT
from mimtransfer.results.protocol_check import Run
from mimtransfer.results.render import notes_of
from mimtransfer.results.report.charts import Dot, Line, line_chart, scatter
from mimtransfer.results.report.numbers import number_table, swatch
from mimtransfer.results.report.pictures import KINDS, pictures_of
from mimtransfer.results.report.records import protocol_part, record_part
from mimtransfer.results.report.style import CSS, SCRIPT

# The browser itself keeps the page from loading anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html_page(table: Table, digits: int, title: str, folder: Path) -> str:
    """Return the report.

    Args:
        folder: where it will lie; its links to records and logs are relative to it.
    """
    row_of = _row_numbers(table)
    parts = {
        "Results": number_table(table, digits)
        + f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes_of(table))}</ul>',
        "Accuracy against cost": _scatters(table),
        "Learning curves": _curves(table, row_of),
        "Pictures": _pictures(table, row_of),
        "Protocols": _protocols(table),
        "Records": _records(table, row_of, folder),
    }
    parts = {name: part for name, part in parts.items() if part}
    links = "".join(f'<a href="#{_slug(name)}">{name}</a>' for name in parts)
    sections = "".join(f'<section id="{_slug(name)}"><h2>{name}</h2>{part}</section>' for name, part in parts.items())
    protocols = {column.fingerprint for column in table.columns}
    counts = {"row": len(table.rows), "run": len(table.runs), "downstream protocol": len(protocols)}
    lead = ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()) + "."
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{CSS}</style></head><body>'
        f'<header><h1>{escape(title)}</h1><p class="lead">{lead}</p><nav>{links}</nav></header><main>{sections}</main>'
        f"<footer>Made from result records by mimtransfer {__version__}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC.</footer><script>{SCRIPT}</script></body></html>\n"
    )


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _row_numbers(table: Table) -> dict[str, int]:
    """Return path of a record -> number of its row."""
    found = {}
    for number, row in enumerate(table.rows):
        for cell in [*row.cells.values(), *row.costs.values()]:
            found |= {run.path: number for run in cell.runs}
    return found


def _legend(table: Table) -> str:
    rows = "".join(f"<span>{swatch(number)}{escape(row.label)}</span>" for number, row in enumerate(table.rows))
    return f'<p class="legend">{rows}</p>'


def _scatters(table: Table) -> str:
    figures = []
    for column in table.columns:
        dots = []
        for number, row in enumerate(table.rows):
            free = row.label.startswith(RANDOM_INIT)  # with an architecture behind it, perhaps
            if column in row.cells and (HOURS in row.costs or free):
                cell = row.cells[column]
                hours = 0.0 if free else row.costs[HOURS].mean
                dots.append(Dot(row.label, number, hours, cell.mean, cell.std))
        if len(dots) > 1:
            figures.append(f"<figure>{scatter(dots, table.cost_titles.get(HOURS, 'hours'))}<figcaption>"
                           f"<b>{escape(title_of(column.metric))}</b>, {escape(column.protocol)}</figcaption></figure>")
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _curves(table: Table, row_of: dict[str, int]) -> str:
    found: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for run in table.runs:
        record = run.record
        name = "pretraining" if record["kind"] == "pretrain" else record["protocol"]["name"]
        for curve, points in curves_of(record, Path(run.path).parent).items():
            if len(points) > 1:
                row = row_of[run.path]
                line = Line(f"{table.rows[row].label}, seed {record['seed']}", row, points)
                found[record["kind"], name, curve].append(line)
    shown = {column.metric for column in table.columns} | {"loss"}
    figures = [
        f"<figure>{line_chart(lines, 'iterations')}<figcaption><b>{escape(title_of(curve))}</b>, {escape(name)}"
        f"{', of different objectives' if kind == 'pretrain' and len({line.row for line in lines}) > 1 else ''}"
        "</figcaption></figure>"
        for (kind, name, curve), lines in found.items()
        if curve in shown
    ]
    return f'{_legend(table)}<div class="charts">{"".join(figures)}</div>' if figures else ""


def _pictures(table: Table, row_of: dict[str, int]) -> str:
    """Show those of one run, the lowest seed, for each row and protocol."""
    chosen: dict[tuple[int, str], Run] = {}
    for run in table.runs:
        key = (row_of[run.path], run.record["protocol"]["name"])
        if key not in chosen or (run.record["seed"] or 0) < (chosen[key].record["seed"] or 0):
            chosen[key] = run
    figures: dict[str, list[str]] = defaultdict(list)
    for (number, protocol), run in sorted(chosen.items(), key=lambda item: (item[0][1], item[0][0])):
        for picture in pictures_of(Path(run.path).parent):
            words = escape(f"{table.rows[number].label}, {protocol}, seed {run.record['seed']}")
            figures[picture.kind].append(
                f'<figure><img src="{picture.uri}" width="{picture.width}" height="{picture.height}" alt="{words}">'
                f"<figcaption>{swatch(number)}{words}</figcaption></figure>"
            )
    return "".join(
        f'<h3>{title}</h3><p class="soft">{text}</p><div class="pictures">{"".join(figures[kind])}</div>'
        for kind, (title, text) in KINDS.items()
        if kind in figures
    )


def _protocols(table: Table) -> str:
    protocols = {run.record["protocol"]["fingerprint"]: run.record["protocol"] for run in table.runs}
    return "".join(protocol_part(protocol["name"], code, protocol["config"]) for code, protocol in protocols.items())


def _records(table: Table, row_of: dict[str, int], folder: Path) -> str:
    pretrainings = {run.record["run_id"]: run for run in table.runs if run.record["kind"] == "pretrain"}
    ordered = sorted(table.runs, key=lambda run: row_of[run.path])
    return "".join(
        record_part(run, table.rows[row_of[run.path]].label, row_of[run.path], pretrainings, folder) for run in ordered
    )
