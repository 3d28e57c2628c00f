"""Join records into the transfer table: a row for each pretraining, a column for each metric of a protocol."""
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.cells import Cell, Column, Row, Table
from mimtransfer.results.comparison import compare, note_single_pretrainings
from mimtransfer.results.costs import add_costs
from mimtransfer.results.metrics import PRIMARY, title_of
from mimtransfer.results.naming import RANDOM_INIT
from mimtransfer.results.pretrainings import distinct_labels, identity, pretraining_run
from mimtransfer.results.protocol_check import Run, check_one_protocol
from mimtransfer.results.record import find_records, read_record

_TASK_ORDER = ("classification", "detection", "segmentation")


def read_runs(places: Iterable[str | Path]) -> list[Run]:
    """Read every record below the given work dirs."""
    return [Run(str(path), read_record(path)) for path in find_records(places)]


def build_table(runs: Sequence[Run], metrics: Sequence[str] | None = None, baseline: str | None = None) -> Table:
    """Join records.

    Args:
        runs: records of transfers and, for the cost columns, of pretrainings.
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
    rows = {name: Row(name) for name in names.values()}
    for run in _one_per_seed(transfers, names, notes):
        row = rows[names[run.record["label"], identity(run.record)]]
        for column in columns:
            if (column.task, column.protocol) == _protocol(run) and column.metric in run.record["metrics"]:
                cell = row.cells.setdefault(column, Cell())
                cell.values.append(run.record["metrics"][column.metric]["value"])
                cell.runs.append(run)
    titles = add_costs(rows, names, [*transfers, *alone], runs, notes)
    ordered = sorted(rows.values(), key=lambda row: (row.label != (baseline or RANDOM_INIT), row.label.lower()))
    table = Table(columns, ordered, titles, None, notes)
    compare(table, baseline)
    note_single_pretrainings(table)
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
    return sorted(kept.values(), key=lambda run: (run.record["seed"] is None, run.record["seed"]))


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
