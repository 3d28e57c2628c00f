"""Which files belong to a run: checkpoint, config and log, with what they contained when the record was written."""
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.results.provenance import sha256_file


def run_files(runner: Runner, tested: str | None = None) -> dict[str, Any]:
    """Return the field `files` of a record.

    Args:
        tested: checkpoint that a test has loaded; the newest of the work dir otherwise.

    Returns:
        `checkpoint` and `config` with `path` and `sha256`, and the path `log`; each None when there is no such file.
        Paths are relative to the work dir where they lie in it, so that it can be moved.
    """
    work_dir = Path(runner.work_dir)
    checkpoint = Path(tested) if tested is not None else newest_checkpoint(work_dir)
    # Of this process alone; the one in the work dir is written again by every test.
    config = Path(runner.log_dir, "vis_data", "config.py")
    log = Path(runner.log_dir, f"{runner.timestamp}.log")
    return {
        "checkpoint": _digest(checkpoint, work_dir),
        "config": _digest(config, work_dir),
        "log": _relative(log, work_dir) if log.is_file() else None,
    }


def _digest(path: Path | None, work_dir: Path) -> dict[str, str] | None:
    if path is None or not path.is_file():
        return None
    return {"path": _relative(path, work_dir), "sha256": sha256_file(path)}


def _relative(path: Path, work_dir: Path) -> str:
    path, work_dir = path.resolve(), work_dir.resolve()
    return path.relative_to(work_dir).as_posix() if path.is_relative_to(work_dir) else str(path)
