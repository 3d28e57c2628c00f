"""One `result.json` for each run: schema, reading, writing; standard library only. Fields: docs/results-format.md."""
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.results.fingerprint import fingerprint

SCHEMA = 2
_READABLE = (1, SCHEMA)
FILE_NAME = "result.json"
KINDS = ("pretrain", "transfer")

_NUMBER = (int, float)
# field -> (types, may be null); a field of a part that is null is not looked for
_FIELDS: dict[str, tuple[tuple[type, ...], bool]] = {
    "kind": ((str,), False),
    "mode": ((str,), False),
    "run_id": ((str,), False),
    "label": ((str,), False),
    "task": ((str,), False),
    "method": ((str,), True),
    "strategy": ((str,), True),
    "backbone": ((dict,), False),
    "dataset": ((str,), True),
    "schedule": ((dict,), False),
    "schedule.epochs": ((int,), True),
    "schedule.iters": ((int,), True),
    "protocol": ((dict,), False),
    "protocol.name": ((str,), False),
    "protocol.fingerprint": ((str,), False),
    "protocol.config": ((dict,), False),
    "data_fingerprint": ((dict,), False),
    "seed": ((int,), True),
    "init": ((dict,), False),
    "init.kind": ((str,), False),
    "metrics": ((dict,), False),
    "raw_metrics": ((dict,), False),
    "evaluated": ((dict,), False),
    "evaluated.on": ((str,), True),
    "evaluated.iter": ((int,), True),
    "cost": ((dict,), False),
    "cost.images_per_s": (_NUMBER, True),
    "cost.wall_s": (_NUMBER, True),
    "cost.peak_memory_bytes": ((int,), True),
    "cost.device": ((str,), True),
    "cost.device_type": ((str,), True),
    "cost.processes": ((int,), False),
    "cost.effective_batch": ((int,), True),
    "files": ((dict,), False),
    "files.checkpoint": ((dict,), True),
    "files.checkpoint.path": ((str,), False),
    "files.checkpoint.sha256": ((str,), False),
    "files.config": ((dict,), True),
    "files.config.path": ((str,), False),
    "files.config.sha256": ((str,), False),
    "files.log": ((str,), True),
    "curves": ((dict,), False),
    "versions": ((dict,), False),
    "git": ((dict,), True),
    "git.commit": ((str,), False),
    "git.dirty": ((bool,), False),
    "command": ((str,), False),
    "started_at": ((str,), False),
    "finished_at": ((str,), False),
}
_OF_CHECKPOINT = ("path", "sha256", "matched", "missing", "unexpected", "pretraining")
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", dict: "an object", bool: "true or false"}


def validate(record: Any, where: str = FILE_NAME) -> None:
    """Check a record against the schema.

    Args:
        record: what was read or is to be written.
        where: named in the error.

    Raises:
        UserError: not a record, another schema version, a field that is missing or of the wrong type, a number that is
        not finite, or a
            protocol that does not have the fingerprint it claims.
    """
    if not isinstance(record, dict) or "schema" not in record:
        raise UserError(
            f"{where}: not a result record (an object with the field 'schema'); leave it out or run again"
        )
    if record["schema"] != SCHEMA:
        raise UserError(
            f"{where}: schema version {record['schema']!r}, this mimtransfer reads versions "
            f"{' and '.join(map(str, _READABLE))}: run the experiment again, or make the table with the version that "
            "wrote it"
        )
    for field, (types, nullable) in _FIELDS.items():
        _check_field(record, field, types, nullable, where)
    if record["kind"] not in KINDS:
        raise UserError(f"{where}: field 'kind' is {record['kind']!r}, expected one of {', '.join(KINDS)}")
    if record["init"]["kind"] == "checkpoint":
        for name in _OF_CHECKPOINT:
            if name not in record["init"]:
                raise UserError(
                    f"{where}: field 'init.{name}' is missing: the file is incomplete, run the experiment again"
                )
    for name, metric in record["metrics"].items():
        if isinstance(metric, dict) and not isinstance(metric.get("note", ""), str):
            raise UserError(f"{where}: metric {name!r} has the note {metric['note']!r}, expected text")
        if not (isinstance(metric, dict) and _is_number(metric.get("value")) and isinstance(metric.get("unit"), str)):
            raise UserError(f"{where}: metric {name!r} is {metric!r}, expected a finite 'value' and a 'unit'")
    for name, points in record["curves"].items():
        if not (isinstance(points, list) and all(_is_point(point) for point in points)):
            raise UserError(f"{where}: curve {name!r} is not a list of [iteration, value]; run the experiment again")
    if fingerprint(record["protocol"]["config"]) != record["protocol"]["fingerprint"]:
        raise UserError(
            f"{where}: the protocol's config does not match its fingerprint: the file was changed by hand; run again"
        )


def read_record(path: str | Path) -> dict[str, Any]:
    """Read and check a `result.json`; errors name the file."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}): the file is broken, run the experiment again") from error
    upgrade(record)
    validate(record, str(path))
    return record


def upgrade(record: Any) -> None:
    """Bring a record of schema 1, which knew no files and no learning curves, to the current one, in place."""
    if isinstance(record, dict) and record.get("schema") == 1:
        record.setdefault("files", {"checkpoint": None, "config": None, "log": None})
        record.setdefault("curves", {})
        if isinstance(record.get("cost"), dict):
            record["cost"].setdefault("device_type", None)
        record["schema"] = SCHEMA


def write_record(record: Mapping[str, Any], folder: str | Path) -> Path:
    """Check a record and write it as `result.json` into a folder, in one step: a reader never sees half of it."""
    validate(record, str(Path(folder, FILE_NAME)))
    text = json.dumps(record, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".result-", suffix=".json.tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private to the user
        os.replace(temporary, Path(folder, FILE_NAME))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return Path(folder, FILE_NAME)


def find_records(places: Iterable[str | Path]) -> Iterator[Path]:
    """Yield every `result.json` at or below the given files and folders once, sorted within each.

    Raises:
        UserError: a place that does not exist, or a folder that holds no record.
    """
    seen = set()
    for place in map(Path, places):
        if not place.exists():
            raise UserError(f"{place}: no such file or folder; give work dirs of finished runs")
        files = sorted(place.rglob(FILE_NAME)) if place.is_dir() else [place]
        if not files:
            raise UserError(
                f"{place}: holds no {FILE_NAME}; give work dirs of finished runs (it is written at the end)"
            )
        for file in files:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _check_field(record: dict, field: str, types: tuple[type, ...], nullable: bool, where: str) -> None:
    part: Any = record
    *parents, name = field.split(".")
    for parent in parents:
        part = part[parent]
        if part is None:
            return
    if name not in part:
        raise UserError(f"{where}: field '{field}' is missing: the file is incomplete, run the experiment again")
    value = part[name]
    if value is None and nullable:
        return
    # bool is an int in Python, not in the schema
    if (
        not isinstance(value, types)
        or (isinstance(value, bool) and bool not in types)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        expected = _TYPE_NAMES[types[-1]] + (" or null" if nullable else "")
        raise UserError(f"{where}: field '{field}' is {value!r}, expected {expected}")


def _is_point(point: Any) -> bool:
    # The value is null where a loss was not finite.
    return isinstance(point, list) and len(point) == 2 and _is_number(point[0]) and (
        point[1] is None or _is_number(point[1]))


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool) and math.isfinite(value)
