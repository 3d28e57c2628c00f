"""Refuse to compare what is not comparable: one column of the table holds one protocol on one data set."""
from typing import NamedTuple

from mimtransfer.errors import UserError
from mimtransfer.results.fingerprint import differences

_MAX_KEYS = 30


class Run(NamedTuple):
    """A record and the file it was read from."""

    path: str
    record: dict


class ProtocolMismatch(UserError):
    """Runs of different protocols would share a column; `details` are lines with the runs, the keys and the values."""

    def __init__(self, message: str, details: list[str]) -> None:
        super().__init__(message)
        self.details = details


def check_one_protocol(name: str, task: str, runs: list[Run]) -> None:
    """Check that runs whose protocol has the same name did the same on the same data.

    Raises:
        ProtocolMismatch: they did not.
    """
    groups: list[list[Run]] = []
    for run in runs:
        for group in groups:
            if not _differences(group[0], run):
                group.append(run)
                break
        else:
            groups.append([run])
    if len(groups) == 1:
        return
    groups.sort(key=len, reverse=True)  # the others are compared with the most frequent
    letters = [chr(ord("A") + k) if k < 26 else f"Z{k - 25}" for k in range(len(groups))]
    details, named = [f"Runs of the protocol {name!r} ({task}) that cannot share a column:"], []
    for letter, group in zip(letters, groups):
        details.append(f"  {letter}, fingerprint {group[0].record['protocol']['fingerprint'][:12]}:")
        details += [f"    {run.path} ({run.record['label']}, seed {run.record['seed']})" for run in group]
    for letter, group in list(zip(letters, groups))[1:]:
        found = _differences(groups[0][0], group[0])
        named += [key for key in found if key not in named]
        details.append(f"  What differs between A and {letter}:")
        for key, (first, second) in list(found.items())[:_MAX_KEYS]:
            details.append(f"    {key}: A {first!r}, {letter} {second!r}")
        if len(found) > _MAX_KEYS:
            details.append(f"    and {len(found) - _MAX_KEYS} more")
    listed = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    raise ProtocolMismatch(
        f"{len(groups)} different protocols are called {name!r} ({task}); they differ in {listed}: leave runs out, "
        "or give each config a name of its own (protocol = '...') and run again",
        details,
    )


def _differences(first: Run, second: Run) -> dict:
    found = {}
    if first.record["protocol"]["fingerprint"] != second.record["protocol"]["fingerprint"]:
        found = differences(first.record["protocol"]["config"], second.record["protocol"]["config"])
    data = first.record["data_fingerprint"], second.record["data_fingerprint"]
    for part in sorted(data[0].keys() & data[1].keys()):  # a machine without the files has no digest
        if data[0][part] != data[1][part]:
            found[f"data_fingerprint.{part}"] = (data[0][part][:12], data[1][part][:12])
    return found
