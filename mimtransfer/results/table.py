"""Join records into the transfer table: a row for each pretraining, a column for each metric of a protocol."""
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.metrics import PRIMARY, title_of
from mimtransfer.results.naming import RANDOM_INIT
from mimtransfer.results.pretrainings import distinct_labels, identity, pretraining_run
from mimtransfer.results.protocol_check import Run, check_one_protocol
from mimtransfer.results.record import find_records, read_record

_TASK_ORDER = ("classification", "detection", "segmentation")


@dataclass
class Cell:
    """Values of one metric over the seeds of one pretraining, with the runs that gave them."""

    values: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    difference: float | None = None  # of the means, to the baseline row

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample (n - 1); None for one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


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
    """A pretraining."""

    label: str
    cells: dict[Column, Cell]
    speed: Cell  # images a second of its pretraining runs


@dataclass
class Table:
    """Everything that a renderer prints; notes are sentences for below the table."""

    columns: list[Column]
    rows: list[Row]
    baseline: str | None
    notes: list[str]

    def best(self, column: Column) -> float | None:
        """Return the highest mean of a column, None when there is nothing to choose from."""
        means = [row.cells[column].mean for row in self.rows if column in row.cells]
        return max(means) if len(means) > 1 else None


def read_runs(places: Iterable[str | Path]) -> list[Run]:
    """Read every record below the given work dirs."""
    return [Run(str(path), read_record(path)) for path in find_records(places)]


def build_table(runs: Sequence[Run], metrics: Sequence[str] | None = None, baseline: str | None = None) -> Table:
    """Join records.

    Args:
        runs: records of transfers and, for the cost column, of pretrainings.
        metrics: names as in the records, in the order of the columns; by default `PRIMARY`.
        baseline: label of the row that differences are taken to; `random init`, where there is such a row, by default.

    Raises:
        UserError: a transfer without metrics, no record with any of the metrics, no row with the baseline's label.
        ProtocolMismatch: a column would hold runs of different protocols or data.
    """
    notes: list[str] = []
    runs = _newest(runs, notes)
    transfers = [run for run in runs if run.record["kind"] == "transfer"]
    for run in transfers:
        if not run.record["metrics"]:
            raise UserError(f"{run.path}: never evaluated; run tools/test.py on its checkpoint, or leave the run out")
    used = {pretraining_run(run.record) for run in transfers}
    alone = [run for run in runs if run.record["kind"] == "pretrain" and run.record["run_id"] not in used]
    pretrainings = {run.record["run_id"]: run.record for run in runs if run.record["kind"] == "pretrain"}
    names, clashes = distinct_labels([*transfers, *alone], pretrainings)
    notes += clashes

    columns = _columns(transfers, metrics)
    rows = {name: Row(name, {}, Cell()) for name in names.values()}
    for run in _one_per_seed(transfers, names, notes):
        row = rows[names[run.record["label"], identity(run.record)]]
        for column in columns:
            if (column.task, column.protocol) == _protocol(run) and column.metric in run.record["metrics"]:
                cell = row.cells.setdefault(column, Cell())
                cell.values.append(run.record["metrics"][column.metric]["value"])
                cell.runs.append(run)
    _add_speeds(rows, names, [*transfers, *alone], runs, notes)
    ordered = sorted(rows.values(), key=lambda row: (row.label != (baseline or RANDOM_INIT), row.label.lower()))
    table = Table(columns, ordered, None, notes)
    _subtract(table, baseline)
    return table


def _protocol(run: Run) -> tuple[str, str]:
    return run.record["task"], run.record["protocol"]["name"]


def _newest(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """Keep the newest record of each run: a copied work dir, or a test after the training."""
    kept: dict[tuple, Run] = {}
    for run in runs:
        record = run.record
        key = (record["kind"], record["run_id"], *_protocol(run), record["protocol"]["fingerprint"])
        other = kept.setdefault(key, run)
        if other is not run:
            newer, older = (run, other) if record["finished_at"] > other.record["finished_at"] else (other, run)
            kept[key] = newer
            notes.append(f"{older.path} is left out: another record of the run in {newer.path}.")
    return list(kept.values())


def _one_per_seed(transfers: list[Run], names: dict[tuple[str, str], str], notes: list[str]) -> list[Run]:
    """Keep the newest of runs with the same seed from the same checkpoint: repeating a run is no new sample."""
    kept: dict[tuple, Run] = {}
    for run in sorted(transfers, key=lambda run: (run.record["finished_at"], run.path)):
        record = run.record
        name = names[record["label"], identity(record)]
        key = (name, *_protocol(run), pretraining_run(record), record["seed"])
        if key in kept:
            notes.append(f"{kept[key].path} repeats the seed {record['seed']} of {run.path}; the newer one counts.")
        kept[key] = run
    return list(kept.values())


def _columns(transfers: list[Run], metrics: Sequence[str] | None) -> list[Column]:
    by_protocol: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in transfers:
        by_protocol[_protocol(run)].append(run)
    for (task, name), runs in by_protocol.items():
        check_one_protocol(name, task, runs)
    available = {key: {name for run in runs for name in run.record["metrics"]} for key, runs in by_protocol.items()}
    every = sorted(set().union(*available.values()))
    for name in metrics or ():
        if name not in every:
            hint = near_matches(name, every) or f"they have {', '.join(every)}"
            raise UserError(f"--metrics: no record has {name!r}; {hint}")
    wanted = metrics or PRIMARY
    found = [(*key, name) for key in sorted(by_protocol, key=_task_order) for name in wanted if name in available[key]]
    if transfers and not found:
        raise UserError(f"no transfer has any of {', '.join(wanted)}; choose with --metrics from {', '.join(every)}")
    names = [metric for _, _, metric in found]
    return [
        Column(
            task,
            protocol,
            metric,
            title_of(metric) + (f" ({protocol})" if names.count(metric) > 1 else ""),
            by_protocol[task, protocol][0].record["protocol"]["fingerprint"],
        )
        for task, protocol, metric in found
    ]


def _task_order(key: tuple[str, str]) -> tuple:
    task, protocol = key
    return (_TASK_ORDER.index(task) if task in _TASK_ORDER else len(_TASK_ORDER), task, protocol)


def _add_speeds(
    rows: dict[str, Row], names: dict[tuple[str, str], str], shown: list[Run], runs: list[Run], notes: list[str]
) -> None:
    """Join the throughput of the pretraining: from its own record, else from what its checkpoint carried."""
    own = {run.record["run_id"]: run for run in runs if run.record["kind"] == "pretrain"}
    seen, machines = set(), set()
    for run in shown:
        name, code = names[run.record["label"], identity(run.record)], pretraining_run(run.record)
        carried = run.record["init"].get("pretraining") or {}
        cost = own[code].record["cost"] if code in own else carried
        if code is None or (name, code) in seen or cost.get("images_per_s") is None:
            continue
        seen.add((name, code))
        machines.add(f"{cost.get('processes')} x {cost.get('device')}")
        rows[name].speed.values.append(cost["images_per_s"])
        rows[name].speed.runs.append(own.get(code, run))
    if len(machines) > 1:
        notes.append(f"Pretrain images/s were measured on different machines: {'; '.join(sorted(machines))}.")


def _subtract(table: Table, baseline: str | None) -> None:
    labels = [row.label for row in table.rows]
    if baseline is None and RANDOM_INIT not in labels:
        return
    table.baseline = baseline or RANDOM_INIT
    if table.baseline not in labels:
        hint = near_matches(table.baseline, labels) or f"rows are {', '.join(map(repr, labels))}"
        raise UserError(f"--baseline: no row is labelled {table.baseline!r}; {hint}")
    base = table.rows[labels.index(table.baseline)]
    for row in table.rows:
        for column, cell in row.cells.items():
            if row is not base and column in base.cells:
                cell.difference = cell.mean - base.cells[column].mean
