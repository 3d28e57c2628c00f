"""The transfer table as a paper prints it: LaTeX, columns grouped by task and protocol, no cost that is constant."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from mimtransfer.results.measurement import title_of
from mimtransfer.results.render import LATEX, constant_costs, escape_latex, latex_comments, text_cells
from mimtransfer.results.rows import Table

_COST = "cost of pretraining"


def grouped(table: Table, digits: int = 1) -> str:
    """Return a `tabular` with the rules of booktabs; notes, and costs that are the same in all rows, are comments.

    Three lines of headings: tasks, protocols, metrics; each group has a rule of its own.
    """
    columns, constant = table.columns, constant_costs(table)
    costs = {name: title for name, title in table.cost_titles.items() if name not in constant}
    groups = [(column.task, column.protocol) for column in columns] + [(_COST, "")] * len(costs)
    titles = [title_of(column.metric) for column in columns]
    titles += [title.removeprefix("pretrain ") for title in costs.values()]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(groups)}}}",
        r"\toprule",
        *_heading([(group[0], group[0]) for group in groups]),
        *_heading([(" ".join(group), group[1]) for group in groups]),
        _row(["pretraining", *map(escape_latex, titles)]),
        r"\midrule",
    ]
    _, *body = text_cells(replace(table, cost_titles=costs), digits, LATEX)
    rows = [_row([label, *map(_typeset, cells)]) for label, *cells in body]
    lines += rows[: len(table.rows)]
    if table.published:
        lines += [r"\midrule", *rows[len(table.rows) :]]
    lines += [r"\bottomrule", r"\end{tabular}"]
    said = [f"% the same in all rows: {' '.join(text.split())}" for text in constant.values()]
    return "\n".join([*latex_comments(table, lines), *said, *lines]) + "\n"


def _heading(groups: list[tuple[str, str]]) -> Iterable[str]:
    """Return a line of headings over neighbours with the same key, and their rules.

    Args:
        groups: key and heading of each column but the first.
    """
    cells, rules, first = [""], [], 2
    for _, members in groupby(groups, lambda group: group[0]):
        found = list(members)
        last = first + len(found) - 1
        heading = found[0][1]
        cells.append(rf"\multicolumn{{{len(found)}}}{{c}}{{{escape_latex(heading)}}}")
        if heading:
            rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
    return _row(cells), " ".join(rules)


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _typeset(text: str) -> str:
    """Give differences a minus in place of a hyphen, stars one group, and a missing number a dash."""
    if text == "-":
        return "--"
    return text.replace("(-", "($-$").replace("$^{*}$$^{*}$", "$^{**}$")
