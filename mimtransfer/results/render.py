"""Print a transfer table as Markdown, CSV, LaTeX or JSON."""
import csv
import io
import json
from collections.abc import Callable

from mimtransfer.results.table import Cell, Column, Table

SPEED_TITLE = "pretrain images/s"
_PLUS_MINUS = "\u00b1"


def markdown(table: Table, digits: int = 1) -> str:
    """Return a pipe table, padded to be read as text too, with the notes below."""
    lines = _text_cells(table, digits, _PLUS_MINUS, lambda text: f"**{text}**", lambda text: text.replace("|", "\\|"))
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    first, *rest = lines
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    text = ""
    for name, *cells in (first, rule, *rest):
        text += " | ".join([f"| {name:<{widths[0]}}", *[f"{c:>{w}}" for c, w in zip(cells, widths[1:])]]) + " |\n"
    return text + "\n" + "\n".join(f"- {note}" for note in _notes(table)) + "\n"


def latex(table: Table, digits: int = 1) -> str:
    """Return a `tabular` with the rules of the package booktabs; notes are comments."""
    lines = _text_cells(table, digits, r"$\pm$", lambda text: rf"\textbf{{{text}}}", _escape_latex)
    head, *rows = (" & ".join(line) + r" \\" for line in lines)
    notes = [f"% {note}" for note in _notes(table, "+-")]
    begin, end = r"\begin{tabular}{l" + "r" * (len(lines[0]) - 1) + "}", r"\end{tabular}"
    body = [begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end]
    return "\n".join([*notes, "% needs booktabs", *body]) + "\n"


def comma_separated(table: Table, _digits: int = 1) -> str:
    """Return CSV with full precision: mean, standard deviation, number of seeds, difference in columns of their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = [column.title for column in table.columns]
    writer.writerow(
        ["pretraining"]
        + [f"{title}{part}" for title in titles for part in ("", " std", " n", " difference")]
        + [f"{SPEED_TITLE}{part}" for part in ("", " std", " n")]
    )
    for row in table.rows:
        cells = [_numbers(row.cells.get(column)) for column in table.columns]
        writer.writerow([row.label, *[number for cell in cells for number in cell], *_numbers(row.speed)[:3]])
    return out.getvalue()


def json_text(table: Table, _digits: int = 1) -> str:
    """Return everything: values of each seed and the records they come from."""
    columns = [
        {"task": c.task, "protocol": c.protocol, "metric": c.metric, "title": c.title, "fingerprint": c.fingerprint}
        for c in table.columns
    ]
    rows = [
        {
            "label": row.label,
            "cells": [_cell_object(row.cells.get(column)) for column in table.columns],
            "pretrain_images_per_s": _cell_object(row.speed),
        }
        for row in table.rows
    ]
    content = {"baseline": table.baseline, "columns": columns, "rows": rows, "notes": _notes(table, "+-")}
    return json.dumps(content, indent=1) + "\n"


FORMATS: dict[str, Callable[[Table, int], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "json": json_text,
}


def _text_cells(
    table: Table, digits: int, plus_minus: str, bold: Callable[[str], str], escape: Callable[[str], str]
) -> list[list[str]]:
    """Return the lines of the table, heading first, as text cells."""
    lines = [["pretraining", *[escape(column.title) for column in table.columns], SPEED_TITLE]]
    for row in table.rows:
        cells = [_score(table, column, row.cells.get(column), digits, plus_minus, bold) for column in table.columns]
        lines.append([escape(row.label), *cells, _speed(row.speed, plus_minus)])
    return lines


def _score(
    table: Table, column: Column, cell: Cell | None, digits: int, plus_minus: str, bold: Callable[[str], str]
) -> str:
    if cell is None:
        return "-"
    text = f"{cell.mean:.{digits}f}"
    best = table.best(column)
    # Rows that print the same number are equally good.
    is_best = best is not None and text == f"{best:.{digits}f}"
    if cell.std is not None:
        text += f" {plus_minus} {cell.std:.{digits}f}"
    remarks = []
    if cell.difference is not None:
        remarks.append(f"{round(cell.difference, digits) + 0.0:+.{digits}f}")  # + 0.0: no -0.0
    if cell.std is not None:
        remarks.append(f"n={len(cell.values)}")
    return (bold(text) if is_best else text) + (f" ({', '.join(remarks)})" if remarks else "")


def _speed(cell: Cell, plus_minus: str) -> str:
    if not cell.values:
        return "-"
    digits = 0 if cell.mean >= 100 else 1
    return f"{cell.mean:.{digits}f}" + ("" if cell.std is None else f" {plus_minus} {cell.std:.{digits}f}")


def _notes(table: Table, plus_minus: str = _PLUS_MINUS) -> list[str]:
    notes = []
    if any(cell.std is not None for row in table.rows for cell in row.cells.values()):
        notes.append(f"mean {plus_minus} standard deviation of the sample over n seeds.")
    if table.baseline is not None and len(table.rows) > 1:
        notes.append(f"(+/-): difference of the means to {table.baseline!r}.")
    protocols = sorted({(column.task, column.protocol, column.fingerprint) for column in table.columns})
    notes += [f"{task}: protocol {name!r}, fingerprint {fingerprint[:12]}." for task, name, fingerprint in protocols]
    return notes + table.notes


def _numbers(cell: Cell | None) -> list:
    if cell is None or not cell.values:
        return ["", "", 0, ""]
    std = "" if cell.std is None else cell.std
    return [cell.mean, std, len(cell.values), "" if cell.difference is None else cell.difference]


def _cell_object(cell: Cell | None) -> dict | None:
    if cell is None or not cell.values:
        return None
    return {
        "mean": cell.mean,
        "std": cell.std,
        "n": len(cell.values),
        "difference": cell.difference,
        "values": cell.values,
        "seeds": [run.record["seed"] for run in cell.runs],
        "records": [run.path for run in cell.runs],
    }


def _escape_latex(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(named.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
