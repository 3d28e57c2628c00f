"""What a transfer table is made of: columns, rows, cells."""
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from mimtransfer.results.metrics import lower_is_better
from mimtransfer.results.protocol_check import Run
from mimtransfer.results.significance import PairedTest


@dataclass
class Cell:
    """Values of one metric over the seeds of one pretraining, with the runs that gave them."""

    values: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    difference: float | None = None  # of the means, to the baseline row
    test: PairedTest | None = None  # against the baseline row
    p: float | None = None  # of the test, corrected for the rows of the column

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample (n - 1); None for one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_seed(self) -> dict[int, float]:
        """Mean of the runs of each seed: several pretrainings may share the seed of the transfer."""
        found = defaultdict(list)
        for value, run in zip(self.values, self.runs):
            if run.record["seed"] is not None:
                found[run.record["seed"]].append(value)
        return {seed: statistics.fmean(values) for seed, values in found.items()}


@dataclass(frozen=True)
class Column:
    """A metric under a protocol."""

    task: str
    protocol: str
    metric: str
    title: str
    fingerprint: str


@dataclass
class Row:
    """A pretraining; `costs` are those of its own runs: name -> cell."""

    label: str
    cells: dict[Column, Cell] = field(default_factory=dict)
    costs: dict[str, Cell] = field(default_factory=dict)


@dataclass
class PublishedRow:
    """Numbers that others printed, with where; never compared with ours by the table."""

    label: str
    scores: dict[Column, float]
    source: str
    url: str
    remark: str | None


@dataclass
class Table:
    """Everything that a renderer prints; notes are sentences for below the table."""

    columns: list[Column]
    rows: list[Row]
    cost_titles: dict[str, str]
    baseline: str | None
    notes: list[str]
    published: list[PublishedRow] = field(default_factory=list)

    def best(self, column: Column) -> float | None:
        """Return the best mean of a column, None when there is nothing to choose from."""
        means = [row.cells[column].mean for row in self.rows if column in row.cells]
        return (min if lower_is_better(column.metric) else max)(means) if len(means) > 1 else None

    @property
    def runs(self) -> list[Run]:
        """Every run that a number of ours comes from, once: pretrainings, then transfers in the order of the rows."""
        cells = [cell for row in self.rows for cell in row.costs.values()]
        cells += [cell for row in self.rows for cell in row.cells.values()]
        found = {run.path: run for cell in cells for run in cell.runs}
        return sorted(found.values(), key=lambda run: run.record["kind"] != "pretrain")
