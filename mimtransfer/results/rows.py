"""What a transfer table is made of: columns, cells, and rows, each of which is one pretraining with its costs."""
import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mimtransfer.results.fingerprint import differences
from mimtransfer.results.label_shares import sample_of
from mimtransfer.results.lineage import signatures
from mimtransfer.results.measurement import NO_DETECTIONS, lower_is_better
from mimtransfer.results.record import Run

SPEED, HOURS, MEMORY = "images_per_s", "device_hours", "peak_memory_gb"


class PairedTest(NamedTuple):
    """A two-sided paired t-test, with the 95 % confidence interval of the mean difference."""

    pairs: int
    difference: float
    p: float
    low: float
    high: float


@dataclass
class Cell:
    """Values of one metric over the seeds of one pretraining, with the runs that gave them."""

    values: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    # Against the baseline row: difference of the means, paired test, its p corrected for the rows of the column.
    difference: float | None = None
    test: PairedTest | None = None
    p: float | None = None

    # Runs that found nothing in the whole data set: their 0 is no measured one, and gets a footnote.
    nothing_found: list[Run] = field(default_factory=list)

    def add(self, value: float, run: Run, note: str | None = None) -> None:
        """Add the value of a run, with the note of its metric."""
        self.values.append(value)
        self.runs.append(run)
        if note == NO_DETECTIONS:
            self.nothing_found.append(run)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample (n - 1); None for one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_seed(self) -> dict[int | str, float]:
        """Mean of the runs of each seed (`sample_of`): several pretrainings may share the seed of the transfer."""
        found = defaultdict(list)
        for value, run in zip(self.values, self.runs):
            if run.record["seed"] is not None:
                found[sample_of(run.record)].append(value)
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


def identity(record: dict[str, Any]) -> str:
    """Return what identifies the pretraining of a transfer record, or the one that a pretraining record describes.

    Two pretrainings are the same when config (without the seed), data set, number of iterations and their own
    initialisation are; a checkpoint that no run of ours has signed is identified by its content.
    """
    if record["kind"] == "pretrain":
        config, iteration = record["protocol"]["fingerprint"], record["evaluated"]["iter"]
        return _identity_of_run(config, record["dataset"], iteration, record["init"])
    return _identity_of_init(record["init"])


def pretraining_run(record: dict[str, Any]) -> str | None:
    """Return the id of the pretraining run (one seed of a pretraining), or what stands for it; None for random init."""
    if record["kind"] == "pretrain":
        return record["run_id"]
    init = record["init"]
    if init["kind"] == "random":
        return None
    return (init.get("pretraining") or {}).get("run_id") or init.get("sha256") or str(init.get("path"))


def distinct_labels(
    runs: Iterable[Run], pretrainings: Mapping[str, Run], notes: list[str]
) -> dict[tuple[str, str], str]:
    """Name the rows.

    Args:
        runs: one row is made for each pretraining that is found in these.
        pretrainings: run id -> run, of those pretrainings whose own record is at hand.
        notes: gets what differs between pretrainings of one label and one architecture.

    Returns:
        (label, identity) -> label of the row, with the architecture behind it where several pretrainings have the same,
        or a short code where those have the same architecture.
    """
    by_label: dict[str, dict[str, Run]] = defaultdict(dict)
    for run in runs:
        by_label[run.record["label"]].setdefault(identity(run.record), run)
    names = {}
    for label, found in by_label.items():
        if len(found) == 1:
            names[label, next(iter(found))] = label
            continue
        architectures = {code: run.record["backbone"]["arch"] for code, run in found.items()}
        if len(set(architectures.values())) == len(found):
            names |= {(label, code): f"{label}, {architecture}" for code, architecture in architectures.items()}
            continue
        short = {code: hashlib.sha256(code.encode()).hexdigest()[:6] for code in found}
        names |= {(label, code): f"{label} [{short[code]}]" for code in found}
        codes = sorted(found, key=short.__getitem__)
        differing = _what_differs([pretraining_run(found[code].record) for code in codes], pretrainings)
        notes.append(
            f"{len(found)} different pretrainings are labelled {label!r}: "
            + "; ".join(f"[{short[code]}] {_description(found[code].record)}" for code in codes)
            + (f". Their configs differ in {differing}" if differing else "")
            + ". Name them with RecordHook(label=...)."
        )
    return names


def add_costs(
    rows: Mapping[tuple[str, str], Row], shown: list[Run], pretrainings: Mapping[str, Run], notes: list[str]
) -> dict[str, str]:
    """Join what each pretraining cost: from its own record, else from what its checkpoint carried.

    Args:
        rows: by (label, identity); their `costs` are filled.
        shown: runs whose pretrainings are rows.
        pretrainings: run id -> run, of those pretrainings whose own record is at hand.
        notes: gets the machines, where there are several.

    Returns:
        name -> heading of the columns. Hours are those of all processes together, whatever they did meanwhile: also
        images, checkpoints and measuring; of a start from another transfer those of all steps before.
    """
    seen, machines, types = set(), set(), set()
    for run in sorted(shown, key=lambda run: (run.record["seed"] is None, run.record["seed"])):
        row, code = rows[run.record["label"], identity(run.record)], pretraining_run(run.record)
        if code is None or (row.label, code) in seen:
            continue
        steps = _steps(run.record, pretrainings)
        found = _sum_of([cost for _, cost in steps])
        unknown = [name for name, cost in steps if cost.get("wall_s") is None]
        if len(steps) > 1 and unknown:
            said = f"Hours of pretraining of {row.label!r} are left out: those of {', '.join(unknown)} are not known."
            notes += [said] if said not in notes else []
        if all(value is None for value in found.values()):
            continue
        seen.add((row.label, code))
        known = [cost for _, cost in steps if cost]
        machines |= {f"{cost.get('processes')} x {cost.get('device')}" for cost in known}
        types |= {cost.get("device_type") for cost in known}
        for key, value in found.items():
            if value is not None:
                row.costs.setdefault(key, Cell()).add(value, pretrainings.get(code, run))
    if len(machines) > 1:
        notes.append(f"Costs of pretraining were measured on different machines: {'; '.join(sorted(machines))}.")
    hours = "GPU-hours" if types == {"cuda"} else "device-hours"
    titles = {SPEED: "pretrain images/s", HOURS: f"pretrain {hours}", MEMORY: "pretrain peak GB"}
    return {name: title for name, title in titles.items() if any(name in row.costs for row in rows.values())}


def _identity_of_init(init: dict[str, Any]) -> str:
    if init["kind"] == "random":
        return "random"
    origin = init.get("pretraining") or {}
    if origin.get("config_fingerprint"):
        config, iteration = origin["config_fingerprint"], origin.get("iter")
        return _identity_of_run(config, origin.get("dataset"), iteration, origin.get("init"))
    return f"file {init.get('sha256') or init.get('path')}"


def _identity_of_run(config: str, dataset: str | None, iteration: int | None, init: dict[str, Any] | None) -> str:
    return "run " + json.dumps([config, dataset, iteration, _identity_of_init(init or {"kind": "random"})])


def _description(record: dict[str, Any]) -> str:
    init, origin = record["init"], record["init"].get("pretraining") or {}
    if record["kind"] == "pretrain":
        origin = {**record, "iter": record["evaluated"]["iter"]}
    if origin.get("run_id"):
        return f"run {origin['run_id']}, {origin.get('dataset')}, {origin.get('iter')} iterations"
    return "no checkpoint" if init["kind"] == "random" else str(init.get("path"))


def _what_differs(run_ids: list[str | None], pretrainings: Mapping[str, Run]) -> str:
    """Return the config keys in which pretrainings differ whose own records are at hand."""
    records = [pretrainings[code].record for code in run_ids if code is not None and code in pretrainings]
    known = [record["protocol"]["config"] for record in records]
    keys = sorted({key for other in known[1:] for key in differences(known[0], other)})
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _steps(record: dict[str, Any], pretrainings: Mapping[str, Run]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and cost of all that was trained before a transfer, or up to the end of a pretraining; an unsigned
    file costs {}.
    """
    steps = [(record["label"], record["cost"])] if record["kind"] == "pretrain" else []
    for path, signed in signatures(record["init"]):
        own = pretrainings.get((signed or {}).get("run_id", ""))
        steps.append((path, own.record["cost"] if own else _carried_cost(signed or {})))
    return steps


def _sum_of(costs: list[dict[str, Any]]) -> dict[str, float | None]:
    """Add up the costs of the steps of a training; None: not known of one of them, or of the sum without sense."""
    walls = [cost.get("wall_s") for cost in costs]
    hours = [wall * (cost.get("processes") or 1) / 3600 for wall, cost in zip(walls, costs) if wall is not None]
    peaks = [cost["peak_memory_bytes"] / 1e9 for cost in costs if cost.get("peak_memory_bytes") is not None]
    return {
        SPEED: costs[0].get("images_per_s") if len(costs) == 1 else None,
        HOURS: sum(hours) if hours and len(hours) == len(costs) else None,
        MEMORY: max(peaks) if peaks and len(peaks) == len(costs) else None,
    }


def _carried_cost(signed: dict[str, Any]) -> dict[str, Any]:
    """Return the costs that the signature of a checkpoint has, in the form of a record's."""
    if not signed:
        return {}
    spent = signed.get("cost") or {}
    return {**signed, "wall_s": spent.get("wall_s"), "peak_memory_bytes": spent.get("peak_memory_bytes")}
