"""Print a transfer table as Markdown, CSV, LaTeX or JSON."""
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mimtransfer.results.compare import mark
from mimtransfer.results.label_shares import seed_keys
from mimtransfer.results.rows import Cell, Column, Table

if TYPE_CHECKING:
    import pandas as pd

_LATIN = 0x17F  # the last letter that pdflatex knows by itself
_PLUS_MINUS = "\u00b1"
_DAGGER = "\u2020"
NOTHING_FOUND = "\u2021"  # behind a score: a footnote says which runs detected nothing at all


def markdown(table: Table, digits: int = 1) -> str:
    """Return a pipe table, padded to be read as text too, with the notes below."""
    head, *lines = text_cells(table, digits, _MARKDOWN)
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    text = ""
    for label, *cells in (head, rule, *lines):
        padded = [label.ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(cells, widths[1:])]]
        text += f"| {' | '.join(padded)} |\n"
    return text + "\n" + "\n".join(f"- {_escape_markdown(note)}" for note in notes_of(table)) + "\n"


def latex(table: Table, digits: int = 1) -> str:
    """Return a `tabular` with the rules of the package booktabs; notes are comments."""
    head, *lines = text_cells(table, digits, LATEX)
    import pandas as pd  # half a second, which a table for the screen does without

    style = pd.DataFrame(lines).style.hide(axis="index").relabel_index(head, axis="columns")
    text = style.to_latex(hrules=True, column_format="l" + "r" * (len(head) - 1)).splitlines()
    if table.published:
        text.insert(text.index(r"\midrule") + 1 + len(table.rows), r"\midrule")
    return "\n".join([*latex_comments(table, text), *text]) + "\n"


def latex_comments(table: Table, lines: list[str]) -> list[str]:
    """Return the lines above a `tabular`: the notes, and what it needs."""
    # A line break within a label would end the comment.
    notes = [f"% {' '.join(note.split())}" for note in notes_of(table, "+-")]
    foreign = any(ord(letter) > _LATIN for line in lines for letter in line)
    return [*notes, "% needs booktabs" + (", and lualatex or xelatex for letters beyond Latin" if foreign else "")]


def paper(table: Table, digits: int = 1) -> str:
    """Return a `tabular` whose columns are grouped, see `mimtransfer/results/paper.py`."""
    from mimtransfer.results.paper import grouped

    return grouped(table, digits)


def comma_separated(table: Table, _digits: int = 1) -> str:
    """Return CSV with full precision; see `frame`."""
    return frame(table).to_csv(index=False, lineterminator="\n")


def frame(table: Table) -> "pd.DataFrame":
    """Return a DataFrame with full precision: mean, standard deviation, number of seeds, difference, p of each score in
    columns of their own.
    """
    head = ["pretraining"]
    head += [f"{column.title}{part}" for column in table.columns for part in ("", " std", " n", " difference", " p")]
    head += [f"{title}{part}" for title in table.cost_titles.values() for part in ("", " std", " n")]
    lines = []
    for row in table.rows:
        cells = [_numbers(row.cells.get(column)) for column in table.columns]
        cells += [_numbers(row.costs.get(name))[:3] for name in table.cost_titles]
        lines.append([row.label, *[number for cell in cells for number in cell]])
    if table.published:
        head.append("source")
        for other in table.published:
            scores = [part for column in table.columns for part in (other.scores.get(column), *[None] * 4)]
            costs = [None] * 3 * len(table.cost_titles)
            lines.append([other.label, *scores, *costs, f"{other.source}, {other.url}"])
    import pandas as pd

    return pd.DataFrame(lines, columns=head, dtype=object)


def json_text(table: Table, _digits: int = 1) -> str:
    """Return everything: values of each seed and the records they come from."""
    rows = [
        {
            "label": row.label,
            "cells": [_cell_object(row.cells.get(column)) for column in table.columns],
            "costs": {name: _cell_object(row.costs.get(name)) for name in table.cost_titles},
        }
        for row in table.rows
    ]
    columns = [vars(column) for column in table.columns]
    published = [
        {**vars(row), "scores": [row.scores.get(column) for column in table.columns]} for row in table.published
    ]
    notes = notes_of(table, "+-")
    content = {"baseline": table.baseline, "columns": columns, "rows": rows, "published": published}
    return json.dumps({**content, "notes": notes}, indent=1) + "\n"


FORMATS: dict[str, Callable[[Table, int], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "paper": paper,
    "json": json_text,
}


class Dialect(NamedTuple):
    """How a text format writes what plain text cannot."""

    plus_minus: str
    bold: str  # with one place for the text
    star: str
    dagger: str  # with one place for the number
    nothing_found: str
    escape: Callable[[str], str]


def text_cells(table: Table, digits: int, dialect: Dialect) -> list[list[str]]:
    """Return the lines of the table, heading first, as text cells; published rows come last, with a dagger."""
    titles = [*[column.title for column in table.columns], *table.cost_titles.values()]
    lines = [["pretraining", *map(dialect.escape, titles)]]
    for row in table.rows:
        cells = [_score_text(table, column, row.cells.get(column), digits, dialect) for column in table.columns]
        costs = [cost_text(row.costs.get(name), dialect.plus_minus) for name in table.cost_titles]
        lines.append([dialect.escape(row.label), *cells, *costs])
    for number, other in enumerate(table.published, start=1):
        scores = [f"{other.scores[column]:.{digits}f}" if column in other.scores else "-" for column in table.columns]
        label = f"{dialect.escape(other.label)} {dialect.dagger % number}"
        lines.append([label, *scores, *["-"] * len(table.cost_titles)])
    return lines


def _score_text(table: Table, column: Column, cell: Cell | None, digits: int, dialect: Dialect) -> str:
    if cell is None:
        return "-"
    text = f"{cell.mean:.{digits}f}" + (dialect.nothing_found if cell.nothing_found else "")
    is_best = prints_best(table, column, cell, digits)
    if cell.std is not None:
        text += f" {dialect.plus_minus} {cell.std:.{digits}f}"
    remarks = []
    if cell.difference is not None:
        remarks.append(difference_text(cell, digits) + mark(cell.p).replace("*", dialect.star))
    if cell.std is not None:
        remarks.append(f"n={len(cell.values)}")
    return (dialect.bold % text if is_best else text) + (f" ({', '.join(remarks)})" if remarks else "")


def prints_best(table: Table, column: Column, cell: Cell, digits: int) -> bool:
    """Say whether a cell is the best of its column; those that print the same number are equally good."""
    best = table.best(column)
    return best is not None and f"{cell.mean:.{digits}f}" == f"{best:.{digits}f}"


def constant_costs(table: Table) -> dict[str, str]:
    """Return name of a cost -> what holds for all rows: costs that print the same in each that can have one.

    Scores are results, not settings: they keep their columns, with differences, seeds and links, however alike.
    """
    rows = [row for row in table.rows if row.costs]
    found = {name: {cost_text(row.costs.get(name)) for row in rows} for name in table.cost_titles}
    return {name: f"{table.cost_titles[name]}: {costs.pop()}" for name, costs in found.items()
            if len(rows) > 1 and len(costs) == 1}


def difference_text(cell: Cell, digits: int) -> str:
    """Return the difference to the baseline with its sign."""
    assert cell.difference is not None
    return f"{round(cell.difference, digits) + 0.0:+.{digits}f}"  # + 0.0: no -0.0


def cost_text(cell: Cell | None, plus_minus: str = _PLUS_MINUS) -> str:
    """Return a cost with about three digits."""
    if cell is None:
        return "-"
    digits = 0 if cell.mean >= 100 else 1 if cell.mean >= 1 else 3
    if 0 < cell.mean < 0.0005:  # of a second or so, which is not nothing
        digits = 1 - math.floor(math.log10(cell.mean))
    return f"{cell.mean:.{digits}f}" + ("" if cell.std is None else f" {plus_minus} {cell.std:.{digits}f}")


def notes_of(table: Table, plus_minus: str = _PLUS_MINUS) -> list[str]:
    """Return the sentences below a table."""
    notes = []
    if any(cell.std is not None for row in table.rows for cell in row.cells.values()):
        notes.append(f"mean {plus_minus} standard deviation of the sample over n seeds.")
    if table.baseline is not None and len(table.rows) > 1:
        notes.append(f"(+/-): difference of the means to {table.baseline!r}.")
    notes += [f"{task}: protocol {name!r}, fingerprint{text}." for task, name, text in sorted(_protocols(table))]
    empty = [
        f"{column.title} of {row.label!r}, seed {' and '.join(str(run.record['seed']) for run in cell.nothing_found)}"
        for row in table.rows
        for column, cell in row.cells.items()
        if cell.nothing_found
    ]
    if empty:
        sign = NOTHING_FOUND if plus_minus == _PLUS_MINUS else "no detections"
        notes.append(f"{sign}: nothing was detected in the whole data set, counted as 0.0: {'; '.join(empty)}.")
    published = [
        f"{_DAGGER if plus_minus == _PLUS_MINUS else 'published '}{number}: printed in {row.source}, {row.url}"
        + (f"; {row.remark}" if row.remark else "")
        + "."
        for number, row in enumerate(table.published, start=1)
    ]
    if published:
        published.append("Published numbers are not measured here: no record, no seeds, in no comparison.")
    return notes + table.notes + published


def _protocols(table: Table) -> set[tuple[str, str, str]]:
    """Return task, name and fingerprint of each protocol: several of subsets of the labels by other seeds, or of runs
    with other backbones.
    """
    found = set()
    for column in table.columns:
        runs = [run for row in table.rows if column in row.cells for run in row.cells[column].runs]
        codes = dict.fromkeys([column.fingerprint, *(run.record["protocol"]["fingerprint"] for run in runs)])
        subsets = any(seed_keys(run.record["protocol"]["config"]) for run in runs)
        several = ("s of its subsets" if subsets else "s") if len(codes) > 1 else ""
        found.add((column.task, column.protocol, f"{several} {', '.join(code[:12] for code in codes)}"))
    return found


def _numbers(cell: Cell | None) -> list[Any]:
    if cell is None:
        return [None, None, 0, None, None]
    return [cell.mean, cell.std, len(cell.values), cell.difference, cell.p]


def _cell_object(cell: Cell | None) -> dict | None:
    if cell is None:
        return None
    return {
        "mean": cell.mean,
        "std": cell.std,
        "n": len(cell.values),
        "difference": cell.difference,
        "paired_test": None if cell.test is None else {**cell.test._asdict(), "p_holm": cell.p},
        "values": cell.values,
        "seeds": [run.record["seed"] for run in cell.runs],
        "records": [run.path for run in cell.runs],
    }


def _escape_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def escape_latex(text: str) -> str:
    """Return text as LaTeX prints it, also at the start of a row, where `[` and `*` would belong to the row before."""
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
             ">": r"\textgreater{}", "|": r"\textbar{}"}  # fmt: skip
    escaped = "".join(named.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter)
                      for letter in " ".join(text.split()))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


_MARKDOWN = Dialect(_PLUS_MINUS, "**%s**", "\\*", f"{_DAGGER}%d", NOTHING_FOUND, _escape_markdown)
LATEX = Dialect(r"$\pm$", r"\textbf{%s}", "$^{*}$", r"$^{\dag%d}$", r"$^{\ddag}$", escape_latex)
