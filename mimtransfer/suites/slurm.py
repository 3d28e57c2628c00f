"""Hand jobs to Slurm through submitit: arrays of jobs that need the same, started when that is done, requeued.

A *job* is one of the suite here as elsewhere; what Slurm queues is known by its *id*, e.g. `101_0`.
"""
from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.stored import read_object
from mimtransfer.suites.state import State, Study
from mimtransfer.suites.suite import Job

_ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "DONE", "FAILED", "FINISHED", "INTERRUPTED", "NODE_FAIL",
          "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
_LAG = 600  # seconds in which the accounting may not know an id yet


class QueuedJob:
    """What Slurm runs: one job of a suite, in the folder in which it was submitted.

    Args:
        root: of the checkout.
        suite, arguments: as for tools/transfer.py; `arguments` are keywords of `Study`.
    """

    def __init__(self, root: Path, suite: str, arguments: dict[str, Any], name: str) -> None:
        self.root, self.suite, self.arguments, self.name, self.folder = root, suite, arguments, name, os.getcwd()

    def __call__(self) -> str:
        """Run the job; when requeued, it goes on from its newest checkpoint."""
        os.chdir(self.folder)
        from mimtransfer.suites.local import run_here
        from mimtransfer.suites.state import Study

        study = Study(self.root, self.suite, **self.arguments)
        run_here(study, study.suite.jobs[self.name])
        return self.name

    def checkpoint(self):
        """Return what submitit queues when time runs out or Slurm preempts the job: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(
    study: Study, states: dict[str, State], queued: Callable[[str], QueuedJob], cluster: str, say: Callable = print
) -> dict[str, str]:
    """Submit the jobs that are not done.

    Args:
        queued: makes what Slurm runs from the name of a job.
        cluster: `slurm`; or `local` or `debug`, submitit's stand-ins, which know no dependencies: each group of jobs
            is waited for.

    Returns:
        name -> id in Slurm, of the jobs that are queued now.

    Raises:
        UserError: submitit is not installed, there is no Slurm here, or it refuses a setting.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("the Slurm executor needs submitit: pip install 'mimtransfer[slurm]'") from None

    folder = study.suite.work_dir / "slurm"
    ids = _queued_ids(folder)
    todo = {name for name, state in states.items() if state.name not in ("done", "running") and name not in ids}
    for jobs in _groups(study, todo):
        needed = sorted({name for job in jobs for name in job.after if name in ids})
        try:
            executor = submitit.AutoExecutor(folder / "jobs" / "%j", cluster=cluster)
            executor.update_parameters(**_parameters(jobs, [ids[name] for name in needed]))
        except (NameError, ValueError, AssertionError, RuntimeError) as error:
            raise UserError(f"slurm settings of {jobs[0].name}: {' '.join(str(error).split())}") from error
        with executor.batch():
            submitted = [executor.submit(queued(job.name)) for job in jobs]
        ids |= {job.name: one.job_id for job, one in zip(jobs, submitted)}
        if cluster == "slurm":
            write_atomically(folder / "jobs.json", json.dumps(ids))
            say(f"{submitted[0].job_id.split('_')[0]}: {', '.join(job.name for job in jobs)}"
                + (f"  after {', '.join(needed)}" if needed else ""))
        else:
            for job, one in zip(jobs, submitted):
                failure = one.exception()
                say(f"{one.job_id}: {job.name} {_reason(failure) if failure else 'done'}")
    return ids


def _reason(error: Exception) -> str:
    """Return what went wrong, from the traceback that submitit wraps it into."""
    lines = str(error).strip().splitlines()
    return next((line.partition("UserError: ")[2] for line in lines if "UserError: " in line), lines[-1])


def _groups(study: Study, todo: set[str]) -> list[list[Job]]:
    """Put the jobs that ask for the same resources and wait for the same jobs into one array."""
    groups: dict[str, list[Job]] = {}
    for job in study.suite.jobs.values():
        if job.name in todo:
            key = json.dumps([sorted(job.after), job.gpus, job.kind, job.slurm], sort_keys=True)
            groups.setdefault(key, []).append(job)
    # A group may only follow the groups that it waits for; jobs are in such an order, and all of a group wait alike.
    return list(groups.values())


def _parameters(jobs: Sequence[Job], after: Sequence[str]) -> dict[str, Any]:
    job = jobs[0]
    asked = {"timeout_min": 24 * 60, "cpus_per_task": 8 * job.gpus, "slurm_array_parallelism": 256, **job.slurm}
    named = {"name": job.name if len(jobs) == 1 else f"{job.kind}-{len(jobs)}"}
    resources = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0 if job.kind == "data" else job.gpus}
    if after:
        extra = {"kill-on-invalid-dep": "yes", **asked.pop("slurm_additional_parameters", {})}
        asked |= {"slurm_dependency": "afterok:" + ":".join(after), "slurm_additional_parameters": extra}
    return {**named, **resources, **asked}


def _queued_ids(folder: Path) -> dict[str, str]:
    """Return name -> id in Slurm of what an earlier call submitted and has not ended."""
    path = folder / "jobs.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        return {}
    fix = "look at the queue with squeue, and remove the file"
    ids = read_object(path, {}, fix)
    for name, number in ids.items():  # it goes to sacct, where another word could be an option
        if not (isinstance(number, str) and re.fullmatch(r"\d+(_\d+)?", number)):
            raise UserError(f"{path}: id of {name!r} is {repr(number)[:80]}, expected a number; {fix}")
    import submitit

    new = time.time() - (folder / "jobs.json").stat().st_mtime < _LAG
    ended = (*_ENDED, *(() if new else ("UNKNOWN",)))
    found: dict[str, Any] = {name: submitit.SlurmJob(folder / "jobs" / "%j", number) for name, number in ids.items()}
    return {name: ids[name] for name, one in found.items() if one.state.split()[0] not in ended}
