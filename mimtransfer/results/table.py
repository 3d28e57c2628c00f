"""Join records into the transfer table: a row for each pretraining, a column for each metric of a protocol.

A column holds one protocol on one data set; records that differ in either are refused (`check_one_protocol`), but for
the seed of a subset of the labels, which is a seed of the run.
"""
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.compare import compare, note_single_pretrainings
from mimtransfer.results.description import RANDOM_INIT
from mimtransfer.results.fingerprint import differences, fingerprint
from mimtransfer.results.label_shares import by_labels, sample_of, seed_keys
from mimtransfer.results.measurement import PRIMARY, title_of
from mimtransfer.results.record import Run
from mimtransfer.results.rows import (
    Cell,
    Column,
    PublishedRow,
    Row,
    Table,
    add_costs,
    distinct_labels,
    identity,
    pretraining_run,
)
from mimtransfer.stored import read_object

_TASK_ORDER = ("classification", "detection", "segmentation", "depth")
_MAX_KEYS = 30
_BACKBONE = "model.backbone."


class ProtocolMismatch(UserError):
    """Runs of different protocols would share a column; `details` are lines with the runs, the keys and the values."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details


def build_table(
    runs: Sequence[Run], metrics: Sequence[str] | None = None, baseline: str | None = None,
    across_backbones: bool = False,
) -> Table:  # fmt: skip
    """Join records.

    Args:
        runs: records of transfers and, for the cost columns, of pretrainings.
        metrics: names as in the records, in the order of the columns; by default `PRIMARY`.
        baseline: label of the row that differences are taken to; `random init`, where there is such a row, by default.
        across_backbones: runs whose protocols differ in the settings of the backbone share a column, with a note.

    Raises:
        UserError: a transfer without metrics, no record with any of the metrics, no row with the baseline's label.
        ProtocolMismatch: a column would hold runs of different protocols or data.
    """
    notes: list[str] = []
    runs = _newest(runs, notes)
    transfers = [run for run in runs if run.record["kind"] == "transfer"]
    for run in transfers:
        if not run.record["metrics"]:
            if raw := run.record.get("raw_metrics"):
                raise UserError(f"{run.path}: none of its scores ({', '.join(raw)}) is a metric of "
                                "mimtransfer/results/measurement.py; add one there, or leave the run out")
            raise UserError(f"{run.path}: never evaluated; run tools/test.py on its checkpoint, or leave the run out")
    pretrainings = {run.record["run_id"]: run for run in runs if run.record["kind"] == "pretrain"}
    used = {pretraining_run(run.record) for run in transfers}
    shown = [*transfers, *[run for code, run in pretrainings.items() if code not in used]]
    labels = distinct_labels(shown, pretrainings, notes)
    by_label = {label: Row(label) for label in labels.values()}
    rows = {key: by_label[label] for key, label in labels.items()}

    columns = _columns(transfers, metrics, notes if across_backbones else None)
    for run in _one_per_seed(transfers, labels, notes):
        row = rows[run.record["label"], identity(run.record)]
        for column in columns:
            if (column.task, column.protocol) == _protocol(run) and column.metric in run.record["metrics"]:
                metric = run.record["metrics"][column.metric]
                row.cells.setdefault(column, Cell()).add(metric["value"], run, metric.get("note"))
    titles = add_costs(rows, shown, pretrainings, notes)
    ordered = sorted(by_label.values(), key=lambda row: (row.label != (baseline or RANDOM_INIT), row.label.lower()))
    table = Table(columns, ordered, titles, None, notes)
    compare(table, baseline)
    note_single_pretrainings(table)
    return table


def check_one_protocol(name: str, task: str, runs: list[Run], notes: list[str] | None = None) -> None:
    """Check that runs whose protocol has the same name did the same on the same data.

    Args:
        notes: gets which backbones differ; None: they may not.

    Raises:
        ProtocolMismatch: they did not.
    """
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if not _protocol_differences(group[0], run, notes is not None)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    if len(groups) == 1:
        if notes is not None:
            _note_backbones(name, runs, notes)
        return
    groups.sort(key=len, reverse=True)  # the others are compared with the most frequent
    letters = [chr(ord("A") + k) if k < 26 else f"Z{k - 25}" for k in range(len(groups))]
    details, keys = [f"Runs of the protocol {name!r} ({task}) that cannot share a column:"], []
    for letter, group in zip(letters, groups):
        details.append(f"  {letter}, fingerprint {group[0].record['protocol']['fingerprint'][:12]}:")
        details += [f"    {run.path} ({run.record['label']}, seed {run.record['seed']})" for run in group]
    for letter, group in list(zip(letters, groups))[1:]:
        found = _protocol_differences(groups[0][0], group[0], notes is not None)
        keys += [key for key in found if key not in keys]
        details.append(f"  What differs between A and {letter}:")
        for key, (first, second) in list(found.items())[:_MAX_KEYS]:
            details.append(f"    {key}: A {first!r}, {letter} {second!r}")
        if len(found) > _MAX_KEYS:
            details.append(f"    and {len(found) - _MAX_KEYS} more")
    listed = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    raise ProtocolMismatch(
        f"{len(groups)} different protocols are called {name!r} ({task}); they differ in {listed}: leave runs out, "
        "or give each config a name of its own (protocol = '...') and run again",
        details,
    )


def read_published(path: str | Path, columns: Sequence[Column]) -> list[PublishedRow]:
    """Read rows of numbers that papers and repositories print: those that have a score for any of the columns.

    A score is shown in the column of its protocol's name only; whether the protocols are the same is for the author of
    the file to know, and `remark` says what differs.

    Args:
        path: JSON, `{"rows": [{"label", "source", "url", "remark", "scores": [{"protocol", "metric", "value"}]}]}`;
            docs/results/published.json is such a file.

    Raises:
        UserError: the file cannot be read, or a row lacks its label, its source, or a value.
    """
    try:
        rows = read_object(path, {"rows": list}, "give a file as docs/results/published.json is one")["rows"]
    except UserError as error:
        raise UserError(f'--published: expected JSON with a list "rows" ({error})') from error
    found = []
    for number, row in enumerate(rows, start=1):
        _check_published(row, f"{path}, row {number}")
        scores = {
            column: float(score["value"])
            for column in columns
            for score in row["scores"]
            if (score["protocol"], score["metric"]) == (column.protocol, column.metric)
        }
        if scores:
            found.append(PublishedRow(row["label"], scores, row["source"], row["url"], row.get("remark")))
    return found


def _protocol(run: Run) -> tuple[str, str]:
    return run.record["task"], run.record["protocol"]["name"]


def _protocol_differences(first: Run, second: Run, across_backbones: bool) -> dict:
    found = {}
    if first.record["protocol"]["fingerprint"] != second.record["protocol"]["fingerprint"]:
        configs = first.record["protocol"]["config"], second.record["protocol"]["config"]
        drawn = seed_keys(configs[0]) | seed_keys(configs[1])
        found = {key: values for key, values in differences(*configs).items() if key not in drawn}
        if across_backbones:
            found = {key: values for key, values in found.items() if not key.startswith(_BACKBONE)}
    data = first.record["data_fingerprint"], second.record["data_fingerprint"]
    for part in sorted(data[0].keys() & data[1].keys()):  # a machine without the files has no digest
        if data[0][part] != data[1][part]:
            found[f"data_fingerprint.{part}"] = (data[0][part][:12], data[1][part][:12])
    return found


def _note_backbones(name: str, runs: list[Run], notes: list[str]) -> None:
    """Say in which settings the backbones of a column differ from that of the most runs."""
    backbones = {run.path: {key: value for key, value in run.record["protocol"]["config"].items()
                            if key.startswith(_BACKBONE)} for run in runs}  # fmt: skip
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[fingerprint(backbones[run.path])].append(run)
    usual, *others = sorted(groups.values(), key=len, reverse=True)
    for group in others:
        found = differences(backbones[usual[0].path], backbones[group[0].path])
        said = ", ".join(f"{key.removeprefix(_BACKBONE)} {new!r}, not {old!r}" for key, (old, new) in found.items())
        labels = ", ".join(dict.fromkeys(run.record["label"] for run in group))
        notes.append(f"Another backbone in the column {name!r}: {labels} ({said}).")


def _newest(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """Keep the newest record of each run: a copied work dir, or a test after the training."""
    kept: dict[tuple, Run] = {}
    for run in runs:
        record = run.record
        data = record["data_fingerprint"].get("eval")  # two tests on data of one name are no two records of one test
        key = (record["kind"], record["run_id"], *_protocol(run), record["protocol"]["fingerprint"], data)
        other = kept.setdefault(key, run)
        if other is not run:
            newer, older = (run, other) if record["finished_at"] > other.record["finished_at"] else (other, run)
            kept[key] = newer
            notes.append(f"{older.path} is left out: another record of the run in {newer.path}.")
    return list(kept.values())


def _one_per_seed(transfers: list[Run], labels: dict[tuple[str, str], str], notes: list[str]) -> list[Run]:
    """Keep the newest of runs with the same seed from the same checkpoint: repeating a run is no new sample."""
    kept: dict[tuple, Run] = {}
    for run in sorted(transfers, key=lambda run: (run.record["finished_at"], run.path)):
        record = run.record
        label = labels[record["label"], identity(record)]
        key = (label, *_protocol(run), pretraining_run(record), sample_of(record))
        if key in kept:
            notes.append(f"{kept[key].path} repeats the seed {record['seed']} of {run.path}; the newer one counts.")
        kept[key] = run
    return sorted(kept.values(), key=lambda run: (run.record["seed"] is None, run.record["seed"]))


def _columns(transfers: list[Run], metrics: Sequence[str] | None, notes: list[str] | None) -> list[Column]:
    by_protocol: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in transfers:
        by_protocol[_protocol(run)].append(run)
    for (task, name), runs in by_protocol.items():
        check_one_protocol(name, task, runs, notes)
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
    columns = []
    for task, protocol, metric in found:
        title = title_of(metric) + (f" ({protocol})" if names.count(metric) > 1 else "")
        fingerprint = by_protocol[task, protocol][0].record["protocol"]["fingerprint"]
        columns.append(Column(task, protocol, metric, title, fingerprint))
    return columns


def _task_order(key: tuple[str, str]) -> tuple:
    task, protocol = key
    return (_TASK_ORDER.index(task) if task in _TASK_ORDER else len(_TASK_ORDER), task, *by_labels(protocol))


def _check_published(row: Any, where: str) -> None:
    for name in ("label", "source", "url"):
        if not (isinstance(row, dict) and isinstance(row.get(name), str) and row[name]):
            raise UserError(f"{where}: {name!r} is missing; a published number is shown only with its source")
    if not row["url"].startswith(("https://", "http://")):
        raise UserError(f"{where}: 'url' is {row['url']!r}, expected an address that begins with https://")
    for score in row.get("scores") or [None]:
        if not (isinstance(score, dict) and score.keys() >= {"protocol", "metric"}
                and isinstance(score.get("value"), int | float)):
            raise UserError(f"{where}: a score is {score!r}, expected protocol, metric and a number as value")
