"""The table of the report: every number leads to the records that it comes from."""
import hashlib
from html import escape
from itertools import groupby

from mimtransfer.results.cells import Cell, Column, PublishedRow, Row, Table
from mimtransfer.results.metrics import title_of
from mimtransfer.results.protocol_check import Run
from mimtransfer.results.render import cost_text, difference_text, prints_best
from mimtransfer.results.report.style import COLOURS
from mimtransfer.results.significance import mark


def anchor(run: Run) -> str:
    """Return the name that links to a record's part of the report."""
    return "r" + hashlib.sha256(run.path.encode()).hexdigest()[:10]


def protocol_anchor(fingerprint: str) -> str:
    """Return the name that links to a protocol's config."""
    return f"p{fingerprint[:12]}"


def swatch(row: int) -> str:
    """Return a dot in the colour that a row has in the charts."""
    return f'<span class="swatch" style="background:{COLOURS[row % len(COLOURS)]}"></span>'


def number_table(table: Table, digits: int) -> str:
    """Return the whole table as HTML."""
    by_protocol = groupby(table.columns, lambda column: (column.task, column.protocol))
    groups = [(key, list(columns)) for key, columns in by_protocol]
    first = "".join(
        f'<th scope="colgroup" colspan="{len(columns)}"><a href="#{protocol_anchor(columns[0].fingerprint)}">'
        f"{escape(protocol)}</a><span>{escape(task)}</span></th>"
        for (task, protocol), columns in groups
    )
    if table.cost_titles:
        first += f'<th scope="colgroup" colspan="{len(table.cost_titles)}">cost of pretraining</th>'
    second = "".join(f'<th scope="col">{escape(title_of(column.metric))}</th>' for column in table.columns)
    second += "".join(f'<th scope="col">{escape(title.removeprefix("pretrain "))}</th>'
                      for title in table.cost_titles.values())
    body = "".join(_row(table, number, row, digits) for number, row in enumerate(table.rows))
    if table.published:
        width = 1 + len(table.columns) + len(table.cost_titles)
        body += f'<tr class="heading"><th colspan="{width}">printed elsewhere, not measured here</th></tr>'
        body += "".join(_published(table, number, row, digits) for number, row in enumerate(table.published, start=1))
    return (f'<div class="wide"><table class="results"><thead><tr class="protocols"><th></th>{first}</tr>'
            f'<tr><th scope="col" style="text-align:left">pretraining</th>{second}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def _row(table: Table, number: int, row: Row, digits: int) -> str:
    cells = "".join(_score(table, column, row.cells.get(column), digits) for column in table.columns)
    for name in table.cost_titles:
        cell = row.costs.get(name)
        cells += f"<td>{cost_text(cell)}{_seeds(cell.runs) if cell else ''}</td>"
    kind = ' class="baseline"' if row.label == table.baseline else ""
    return f'<tr{kind}><th scope="row">{swatch(number)}{escape(row.label)}</th>{cells}</tr>'


def _score(table: Table, column: Column, cell: Cell | None, digits: int) -> str:
    if cell is None:
        return "<td>-</td>"
    text = f"{cell.mean:.{digits}f}" + ("" if cell.std is None else f" \u00b1 {cell.std:.{digits}f}")
    best = ' class="best"' if prints_best(table, column, cell, digits) else ""
    difference = ""
    if cell.difference is not None:
        difference = f"<small>{difference_text(cell, digits)}{mark(cell.p)}</small>"
    link = f'<a href="#{anchor(cell.runs[0])}" title="{escape(_explanation(table, cell))}">{text}</a>'
    return f"<td{best}>{link}{difference}{_seeds(cell.runs)}</td>"


def _explanation(table: Table, cell: Cell) -> str:
    """Return what a reader sees who points at a number."""
    lines = [f"seed {run.record['seed']}: {value:g}" for run, value in zip(cell.runs, cell.values)]
    if cell.test is not None:
        test = cell.test
        lines.append(f"against {table.baseline}, {test.pairs} pairs: {test.difference:+.3g}, 95 % confidence interval "
                     f"{test.low:+.3g} to {test.high:+.3g}, p = {test.p:.3g}, corrected {cell.p:.3g}")
    return "\n".join(lines)


def _seeds(runs: list[Run]) -> str:
    links = [f'<a href="#{anchor(run)}">{run.record["seed"]}</a>' for run in runs]
    return f"<small>{'seed' if len(links) == 1 else 'seeds'} {' '.join(links)}</small>"


def _published(table: Table, number: int, row: PublishedRow, digits: int) -> str:
    cells = "".join(f"<td>{row.scores[column]:.{digits}f}</td>" if column in row.scores else "<td>-</td>"
                    for column in table.columns) + "<td>-</td>" * len(table.cost_titles)
    source = f'<small><a href="{escape(row.url)}">{escape(row.source)}</a></small>'
    return f'<tr class="published"><th scope="row">{escape(row.label)} \u2020{number}{source}</th>{cells}</tr>'
