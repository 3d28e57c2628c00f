"""Hand cells to Slurm through submitit: arrays of cells that need the same, started when that is done, requeued."""
from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.stored_json import read_object
from mimtransfer.suites.stat_cache import write_atomically
from mimtransfer.suites.state import State, Study
from mimtransfer.suites.suite import Cell

_ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "DONE", "FAILED", "FINISHED", "INTERRUPTED", "NODE_FAIL",
          "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
_LAG = 600  # seconds in which the accounting may not know a job yet


class CellJob:
    """What a job runs: one cell of a suite, from the folder in which it was submitted.

    Args:
        root: of the checkout.
        suite, arguments: as for tools/transfer.py; `arguments` are keywords of `open_study`.
    """

    def __init__(self, root: Path, suite: str, arguments: dict[str, Any], name: str) -> None:
        self.root, self.suite, self.arguments, self.name, self.folder = root, suite, arguments, name, os.getcwd()

    def __call__(self) -> str:
        """Run the cell; a requeued job goes on from its newest checkpoint."""
        os.chdir(self.folder)
        from mimtransfer.suites.local import run_here
        from mimtransfer.suites.study import open_study

        study = open_study(self.root, self.suite, **self.arguments)
        run_here(study, study.suite.cells[self.name])
        return self.name

    def checkpoint(self):
        """Return what submitit queues when the job runs out of time or is preempted: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(
    study: Study, states: dict[str, State], job: Callable[[str], CellJob], cluster: str, say: Callable = print
) -> dict[str, str]:
    """Submit the cells that are not done.

    Args:
        job: makes what a job runs from the name of its cell.
        cluster: `slurm`; or `local` or `debug`, submitit's stand-ins, which know no dependencies: each group of cells
            is waited for.

    Returns:
        name -> job id, of the cells that are queued now.

    Raises:
        UserError: submitit is not installed, there is no Slurm here, or it refuses a setting.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("the Slurm executor needs submitit: pip install 'mimtransfer[slurm]'") from None

    folder = study.suite.work_dir / "slurm"
    jobs = _queued(folder)
    todo = {name for name, state in states.items() if state.name not in ("done", "running") and name not in jobs}
    for cells in _groups(study, todo):
        needed = sorted({name for cell in cells for name in cell.after if name in jobs})
        try:
            executor = submitit.AutoExecutor(folder / "jobs" / "%j", cluster=cluster)
            executor.update_parameters(**_parameters(cells, [jobs[name] for name in needed]))
        except (NameError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(f"slurm settings of {cells[0].name}: {' '.join(str(error).split())}") from error
        with executor.batch():
            submitted = [executor.submit(job(cell.name)) for cell in cells]
        jobs |= {cell.name: one.job_id for cell, one in zip(cells, submitted)}
        if cluster == "slurm":
            write_atomically(folder / "jobs.json", json.dumps(jobs))
            say(f"{submitted[0].job_id.split('_')[0]}: {', '.join(cell.name for cell in cells)}"
                + (f"  after {', '.join(needed)}" if needed else ""))
        else:
            for cell, one in zip(cells, submitted):
                error = one.exception()
                say(f"{one.job_id}: {cell.name} {_reason(error) if error else 'done'}")
    return jobs


def _reason(error: Exception) -> str:
    """Return what went wrong, from the traceback that submitit wraps it into."""
    lines = str(error).strip().splitlines()
    return next((line.partition("UserError: ")[2] for line in lines if "UserError: " in line), lines[-1])


def _groups(study: Study, todo: set[str]) -> list[list[Cell]]:
    """Put the cells that ask for the same resources and wait for the same cells into one array."""
    groups: dict[str, list[Cell]] = {}
    for cell in study.suite.cells.values():
        if cell.name in todo:
            key = json.dumps([sorted(cell.after), cell.gpus, cell.kind, cell.slurm], sort_keys=True)
            groups.setdefault(key, []).append(cell)
    # A group may only follow the groups that it waits for; cells are in such an order, and all of a group wait alike.
    return list(groups.values())


def _parameters(cells: Sequence[Cell], after: Sequence[str]) -> dict[str, Any]:
    cell = cells[0]
    asked = {"timeout_min": 24 * 60, "cpus_per_task": 8 * cell.gpus, "slurm_array_parallelism": 256, **cell.slurm}
    named = {"name": cell.name if len(cells) == 1 else f"{cell.kind}-{len(cells)}"}
    resources = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0 if cell.kind == "data" else cell.gpus}
    if after:
        extra = {"kill-on-invalid-dep": "yes", **asked.pop("slurm_additional_parameters", {})}
        asked |= {"slurm_dependency": "afterok:" + ":".join(after), "slurm_additional_parameters": extra}
    return {**named, **resources, **asked}


def _queued(folder: Path) -> dict[str, str]:
    """Return the jobs of an earlier call that have not ended."""
    path = folder / "jobs.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        return {}
    mend = "look at the queue with squeue, and remove the file"
    jobs = read_object(path, {}, mend)
    for name, job in jobs.items():  # a number goes to sacct, any other word could be one of its options
        if not (isinstance(job, str) and re.fullmatch(r"\d+(_\d+)?", job)):
            raise UserError(f"{path}: job of {name!r} is {repr(job)[:80]}, expected a number; {mend}")
    import submitit

    found = {name: submitit.SlurmJob(folder / "jobs" / "%j", job_id) for name, job_id in jobs.items()}
    new = time.time() - (folder / "jobs.json").stat().st_mtime < _LAG
    ended = (*_ENDED, *(() if new else ("UNKNOWN",)))
    return {name: jobs[name] for name, one in found.items() if one.state.split()[0] not in ended}
