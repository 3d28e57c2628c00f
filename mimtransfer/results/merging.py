"""Where the record of a run goes, and what it takes over from the record that is there."""
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mimtransfer.errors import UserError
from mimtransfer.results.record import FILE_NAME, read_record


def folder_for(record: dict[str, Any], runner: Runner, idle: bool, frozen: bool) -> str | None:
    """Return where to write a record, or None to leave the file that is there.

    A test completes the record of its training, whose code and cost stay in it: they are put into `record`.

    Args:
        idle: the run had nothing left to train or to evaluate.
        frozen: it evaluated frozen features.
    """
    try:
        path = Path(runner.work_dir, FILE_NAME)
        earlier = read_record(path) if path.exists() else None
    except UserError:
        earlier = None  # of another version, or broken: replace it
    if earlier is None:
        return runner.work_dir
    same = earlier["run_id"] == record["run_id"]
    if record["mode"] == "train":
        if same and idle:
            runner.logger.info("nothing was left to train: the record of this run stays as it is")
            return None
        return runner.work_dir
    if frozen and earlier["mode"] == "test" and _protocol(earlier) == _protocol(record):
        return runner.work_dir  # the evaluation was repeated
    other = _protocol(earlier) != _protocol(record)  # the robustness of what was trained
    if not same or other or "evaluated_weights" in record["protocol"]["config"]:
        return runner.log_dir
    record["evaluated"] |= {key: record[key] for key in ("command", "git", "versions")}
    kept = ("cost", "schedule", "curves", "started_at", "command", "git", "versions")
    record |= {key: earlier[key] for key in kept}
    record["files"] = {name: earlier["files"][name] or file for name, file in record["files"].items()}
    return runner.work_dir


def _protocol(record: dict[str, Any]) -> tuple[str, str]:
    return record["task"], record["protocol"]["name"]
