"""One `result.json` for each run: schema, reading, writing; standard library only. Fields: docs/results-format.md."""
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.results.lineage import inherited, label_from
from mimtransfer.stored import read_json

SCHEMA = 2
_READABLE = (1, SCHEMA)
FILE_NAME = "result.json"
KINDS = ("pretrain", "transfer")

# (types, may be null) -> fields. The fields of a part that is null are not looked for. Parts stand before their fields.
_FIELDS: list[tuple[tuple[type, ...], bool, str]] = [
    ((dict,), False, "backbone schedule protocol protocol.config data_fingerprint init metrics raw_metrics evaluated "
                     "cost files curves versions"),
    ((dict,), True, "files.checkpoint files.config git"),
    ((str,), False, "kind mode run_id label task protocol.name protocol.fingerprint init.kind files.checkpoint.path "
                    "files.checkpoint.sha256 files.config.path files.config.sha256 git.commit command started_at "
                    "finished_at"),
    ((str,), True, "backbone.arch method strategy dataset evaluated.on cost.device cost.device_type files.log"),
    ((int,), False, "cost.processes"),
    ((int,), True, "schedule.epochs schedule.iters seed evaluated.iter cost.peak_memory_bytes cost.effective_batch"),
    ((int, float), True, "cost.images_per_s cost.wall_s"),
    ((bool,), False, "git.dirty"),
]
_OF_CHECKPOINT = "init.path init.sha256 init.matched init.missing init.unexpected init.pretraining"
_TYPE_NAMES = {str: "text", int: "an integer", float: "a number", dict: "an object", bool: "true or false"}


class Run(NamedTuple):
    """A record and the file it was read from."""

    path: str
    record: dict[str, Any]


def validate(record: Any, where: str = FILE_NAME) -> None:
    """Check a record against the schema.

    Args:
        record: what was read or is to be written.
        where: named in the error.

    Raises:
        UserError: no record, another schema version, a field that is missing or of the wrong type, a number that is
            not finite, or a protocol that does not have the fingerprint it claims.
    """
    if not isinstance(record, dict) or "schema" not in record:
        raise UserError(f"{where}: not a result record (an object with the field 'schema'); leave it out or run again")
    if record["schema"] != SCHEMA:
        raise UserError(
            f"{where}: schema version {record['schema']!r}, this mimtransfer reads versions "
            f"{' and '.join(map(str, _READABLE))}: run the experiment again, or make the table with the version that "
            "wrote it"
        )
    for types, nullable, fields in _FIELDS:
        for field in fields.split():
            _check_field(record, field, types, nullable, where)
    if record["kind"] not in KINDS:
        raise UserError(f"{where}: field 'kind' is {record['kind']!r}, expected one of {', '.join(KINDS)}")
    if record["init"]["kind"] == "checkpoint":
        for field in _OF_CHECKPOINT.split():
            _check_field(record, field, (object,), True, where)
    if "masks_per_image" in record["schedule"]:  # of pretrainings with several masks of an image
        _check_field(record, "schedule.masks_per_image", (int,), False, where)
    for field in ("precision", "reading"):  # since December 2026
        if field in record:
            _check_field(record, field, (dict,), True, where)
    for name, metric in record["metrics"].items():
        if isinstance(metric, dict) and not isinstance(metric.get("note", ""), str):
            raise UserError(f"{where}: metric {name!r} has the note {metric['note']!r}, expected text")
        if not (isinstance(metric, dict) and is_number(metric.get("value")) and isinstance(metric.get("unit"), str)):
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
    record = read_json(path, "the file is broken, run the experiment again")
    upgrade(record)
    validate(record, str(path))
    return record


def upgrade(record: Any) -> None:
    """Bring a record of schema 1, which knew no files and no learning curves, to the current one, in place.

    A run from the checkpoint of another transfer is named by that, where an older record has only its label.
    """
    if isinstance(record, dict) and record.get("schema") == 1:
        record.setdefault("files", {"checkpoint": None, "config": None, "log": None})
        record.setdefault("curves", {})
        if isinstance(record.get("cost"), dict):
            record["cost"].setdefault("device_type", None)
        record["schema"] = SCHEMA
    init = record.get("init") if isinstance(record, dict) else None
    if isinstance(init, dict) and isinstance(init.get("pretraining"), dict) and inherited(record.get("label"), init):
        record["label"] = label_from(init["pretraining"])


def write_record(record: Mapping[str, Any], folder: str | Path) -> Path:
    """Check a record and write it as `result.json` into a folder, in one step: a reader never sees half of it."""
    path = Path(folder, FILE_NAME)
    validate(record, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    return path


def merge_earlier(record: dict[str, Any], work_dir: str, log_dir: str, idle: bool, frozen: bool) -> str | None:
    """Return the folder to write a record to, or None to leave the record of the work dir as it is.

    A test completes the record of its training: code and cost of the training are put into `record`.

    Args:
        record: of the run that has just ended.
        idle: the run had nothing left to train or to evaluate.
        frozen: it evaluated frozen features.
    """
    try:
        path = Path(work_dir, FILE_NAME)
        earlier = read_record(path) if path.exists() else None
    except UserError:
        earlier = None  # of another version, or broken: replace it
    if earlier is None:
        return work_dir
    same_run = earlier["run_id"] == record["run_id"]
    if record["mode"] == "train":
        return None if same_run and idle else work_dir
    protocols = [(each["task"], each["protocol"]["name"]) for each in (earlier, record)]
    same_protocol = protocols[0] == protocols[1]  # a test of robustness has another
    if frozen and earlier["mode"] == "test" and same_protocol:
        return work_dir  # the evaluation was repeated
    if not same_run or "evaluated_weights" in record["protocol"]["config"]:
        return log_dir
    if not same_protocol:
        record["cost"] = earlier["cost"]  # the checkpoint knows it but for the last evaluation
        return log_dir
    record["evaluated"] |= {key: record[key] for key in ("command", "git", "versions")}
    kept = ("cost", "schedule", "curves", "started_at", "command", "git", "versions")
    record |= {key: earlier[key] for key in kept}
    record |= {key: earlier.get(key) for key in ("precision", "reading")}
    record["files"] = {name: earlier["files"][name] or file for name, file in record["files"].items()}
    return work_dir


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
            hint = "give work dirs of finished runs (it is written at the end)"
            raise UserError(f"{place}: holds no {FILE_NAME}; {hint}")
        for file in files:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def read_runs(places: Iterable[str | Path]) -> list[Run]:
    """Read every record below the given work dirs."""
    return [Run(str(path), read_record(path)) for path in find_records(places)]


def is_number(value: Any) -> bool:
    """Tell finite numbers from everything else; a bool is an int in Python, not in the schema."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


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
    if object in types or (value is None and nullable):
        return
    number = isinstance(value, int | float) and types != (bool,)
    if not isinstance(value, types) or (number and not is_number(value)):
        expected = _TYPE_NAMES[types[-1]] + (" or null" if nullable else "")
        raise UserError(f"{where}: field '{field}' is {value!r}, expected {expected}")


def _is_point(point: Any) -> bool:
    # The value is null where a loss was not finite.
    return (isinstance(point, list) and len(point) == 2 and is_number(point[0])
            and (point[1] is None or is_number(point[1])))
