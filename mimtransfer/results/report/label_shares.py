"""Score against the share of the labels: one chart for each task and metric that were measured with several shares."""
from collections import defaultdict

from mimtransfer.results.label_shares import amount_of, of_all_labels
from mimtransfer.results.measurement import title_of
from mimtransfer.results.report.charts import Charts, axis_title_of
from mimtransfer.results.rows import Column, Table

_AXES = {"share": ("share of the labels", " %"), "shots": ("objects or images of each class", "")}
_Groups = dict[tuple[str, str, str, str], dict[Column, float]]


def share_figures(table: Table, charts: Charts) -> list[tuple[str, str, str]]:
    """Return (title, protocol of the whole, SVG) for all columns that differ in the amount of labels alone."""
    figures = []
    for (_, protocol, metric, kind), amounts in groups_of(table).items():
        lines = []
        for number, row in enumerate(table.rows):
            points = [(amount, row.cells[column].mean, row.cells[column].std)
                      for column, amount in amounts.items() if column in row.cells]
            if points:
                lines.append((row.label, number, points))
        x_title, unit = _AXES[kind]
        figures.append((title_of(metric), protocol, charts.over_amounts(lines, x_title, axis_title_of(metric), unit)))
    return figures


def groups_of(table: Table) -> _Groups:
    """Return (task, protocol of the whole, metric, kind of amount) -> column -> amount, shares in per cent.

    Protocols belong together by their names: the schedule may depend on the share.
    """
    configs = {run.record["protocol"]["fingerprint"]: run.record["protocol"]["config"] for run in table.runs}
    groups: _Groups = defaultdict(dict)
    for column in table.columns:
        found = amount_of(configs.get(column.fingerprint, {}))
        if found is not None:
            kind, amount = found
            key = (column.task, of_all_labels(column.protocol), column.metric, kind)
            groups[key][column] = 100 * amount if kind == "share" else amount
    return {key: found for key, found in groups.items() if len(set(found.values())) > 1}
