"""Check that the files behind records are still what they were when the records were written."""
import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file
from mimtransfer.results.fingerprint import differences, protocol_config
from mimtransfer.results.record import find_records, read_record

_LARGEST_CONFIG = 1 << 20  # bytes
_Digest = Callable[[Path], str | None]  # sha256 of a file, None where there is none

SAME, CHANGED, ABSENT, UNKNOWN = "as recorded", "changed", "not here", "without a sha256 in the record"


class Finding(NamedTuple):
    """What became of one file of one record."""

    record: str
    file: str  # with what it is: `checkpoint epoch_9.pth`
    state: str
    details: list[str]


def verify(places: Iterable[str | Path]) -> tuple[list[Finding], bool]:
    """Read every record below the places and compare its files with the sha256 in it.

    A checkpoint that a run started from is looked for where the record says and beside the record of its pretraining,
    so that work dirs may have been moved.

    Returns:
        What was found for every file, and whether all is well: no file has changed and every record can be read.
    """
    findings, records = [], {}
    for path in find_records(places):
        try:
            records[path] = read_record(path)
        except UserError as error:
            findings.append(Finding(str(path), "record", CHANGED, [str(error)]))
    # Each file once: one pretraining may serve a hundred transfers.
    digest = functools.cache(lambda path: sha256_file(path) if path.is_file() else None)
    for path, record in records.items():
        findings += _own_files(path, record, digest)
    folders = {record["run_id"]: path.parent for path, record in records.items() if record["kind"] == "pretrain"}
    for path, record in records.items():
        findings += _origin(path, record, digest, folders)
    return findings, all(finding.state != CHANGED for finding in findings)


def report(findings: list[Finding]) -> str:
    """Return lines for the screen: every file that is not as recorded, then how many of which sort there are."""
    lines = []
    for finding in findings:
        if finding.state in (CHANGED, ABSENT):
            lines.append(f"{finding.record}: {finding.file} {finding.state}")
            lines += [f"    {detail}" for detail in finding.details]
    counts = Counter(finding.state for finding in findings)
    listed = ", ".join(f"{counts[state]} {state}" for state in (SAME, CHANGED, ABSENT, UNKNOWN) if counts[state])
    lines.append(f"{len({finding.record for finding in findings})} records, files: {listed or 'none'}")
    return "\n".join(lines) + "\n"


def _own_files(path: Path, record: dict[str, Any], digest: _Digest) -> Iterator[Finding]:
    for name in ("checkpoint", "config"):
        file = record["files"][name]
        if file is None:
            yield Finding(str(path), name, UNKNOWN, [])
            continue
        found = digest((path.parent / file["path"]).resolve())
        details = []
        if found not in (None, file["sha256"]):
            details = [f"sha256 {found}, recorded {file['sha256']}"]
            if name == "config":
                details += _config_changes(path.parent / file["path"], record)
        yield Finding(str(path), f"{name} {file['path']}", _state(found, file["sha256"]), details)


def _origin(path: Path, record: dict[str, Any], digest: _Digest, folders: dict[str, Path]) -> Iterator[Finding]:
    init = record["init"]
    if init["kind"] != "checkpoint":
        return
    name = f"initial checkpoint {init['path']}"
    if init["sha256"] is None:
        yield Finding(str(path), name, UNKNOWN, [])
        return
    places = [Path(init["path"])]
    home = folders.get((init["pretraining"] or {}).get("run_id", ""))
    if home is not None:
        places.append(home / places[0].name)
    found = [sha256 for sha256 in (digest(place.resolve()) for place in places) if sha256 is not None]
    if init["sha256"] in found:
        yield Finding(str(path), name, SAME, [])
    else:
        details = [f"sha256 {sha256}, recorded {init['sha256']}" for sha256 in found]
        yield Finding(str(path), name, CHANGED if found else ABSENT, details)


def _state(found: str | None, recorded: str) -> str:
    return ABSENT if found is None else SAME if found == recorded else CHANGED


def _config_changes(path: Path, record: dict[str, Any]) -> list[str]:
    """Return what differs now from the protocol in the record, a line for each key."""
    from mmengine.config import Config  # a second and more, and only needed here

    from mimtransfer.checkpoints.recorded_config import read_values

    try:  # a record may name any file, so it is read as the values that mmengine wrote, and not run
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is too large")
        cfg = Config(read_values(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        return [f"cannot be read as a config any more: {' '.join(str(error).split())[:200]}"]
    now = protocol_config(cfg, record["evaluated"]["on"] or "val", record["cost"]["processes"])
    was = {key: value for key, value in record["protocol"]["config"].items() if key != "evaluated_weights"}
    found = differences(was, json.loads(json.dumps(now)))
    if not found:
        return ["nothing that decides the score has changed"]
    return [f"{key}: recorded {was!r}, now {now!r}" for key, (was, now) in found.items()]
