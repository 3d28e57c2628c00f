"""What the screen shows of a suite: the plan, with what it will cost by records of earlier runs, and the table."""
from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.results.closing import duration
from mimtransfer.results.description import backbone_of, protocol_of
from mimtransfer.results.fingerprint import fingerprint
from mimtransfer.results.record import read_record
from mimtransfer.suites.state import JOB_FILE, OLD_JOB_FILE, State, Study
from mimtransfer.suites.suite import Job, Suite

Cost = tuple[float, str]  # wall seconds, and what they come from


def plan(
    study: Study, states: Mapping[str, State], slots: int, full: bool, guess: Callable[[Job], Cost | None] | None = None
) -> str:
    """Return the plan: every job that is to run, with what is known of its cost.

    Args:
        slots: jobs that run at a time.
        full: name the jobs that are done, too.
        guess: what a job takes of which no record tells; the plan says that it is estimated.
    """
    suite = study.suite
    todo = [job for job in suite.jobs.values() if states[job.name].name != "done"]
    # Records are read only when there is something to estimate.
    records = read_costs([suite.work_dir, suite.work_dir.parent, *suite.records]) if todo else []
    lines, seconds = [], {}
    absent: dict[str, None] = {}  # a line for each file, whatever number of jobs lack it
    width = max((len(name) for name in suite.jobs), default=0)
    for name, job in suite.jobs.items():
        if states[name].name == "done":
            lines += [f"  {name:{width}}  done"] * full
            continue
        cost = f"{'?':>8}"
        if job.kind in ("pretrain", "transfer"):
            found = estimate(records, job, study.inputs.config(job), study.inputs.protocol(job))
            if found is None and guess is not None:
                found = guess(job)
            if found is not None:
                seconds[name], source = found
                cost = f"{duration(seconds[name]):>8}  ({source})"
        gpus = f"{job.gpus} GPUs" if job.gpus > 1 else ""
        missing = states[name].name == "missing"
        why = f"no file {job.start}" if missing else states[name].why
        lines.append("  ".join(filter(None, [f"  {name:{width}}", f"{states[name].name:7} {cost}", gpus, why])))
        absent |= {states[name].why: None} if missing else {}
    head = f"{suite.path}: {len(states)} jobs, {len(states) - len(todo)} done"
    if todo:
        work = sum(seconds[job.name] * job.gpus for job in todo if job.name in seconds)
        wall = makespan(suite.jobs.values(), states, seconds, slots)
        head += f", {len(todo)} to run"
        head += f": {duration(work)} of work, about {duration(wall)} with {slots} at a time" if seconds else ""
        if unknown := len(todo) - len(seconds):
            head += f", {'and ' * bool(seconds)}{unknown} of unknown cost"
    return "\n".join([head, *lines, *absent])


def read_costs(places: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return the records of earlier runs that say how long they took.

    Args:
        places: folders that hold records, two levels deep at most; those that do not exist are passed over.
    """
    paths = {path.resolve() for place in map(Path, places) for depth in ("", "*/", "*/*/")
             for path in place.glob(f"{depth}*.json")}
    records = []
    for path in sorted(paths):
        if path.name in (JOB_FILE, OLD_JOB_FILE, "codebook.json"):
            continue
        # What is no record, of another version, a link to nothing, or removed meanwhile, says no cost.
        with contextlib.suppress(UserError, OSError):
            if path.is_file() and path.stat().st_size <= 1 << 20:
                records.append(read_record(path))
    return [record for record in records if record["cost"]["wall_s"]]


def estimate(
    records: Iterable[Mapping[str, Any]], job: Job, config: Mapping[str, Any], flat: Mapping[str, Any]
) -> Cost | None:
    """Return what a run will take, or None when nothing like it has run.

    Args:
        records: of earlier runs.
        config, flat: the job's resolved config, and its protocol.

    Returns:
        Wall seconds, and what they come from: `same config`, or `like RUN`, scaled by epochs or iterations.
    """
    found = [record for record in records if record["protocol"]["fingerprint"] == fingerprint(flat)]
    if found:
        return statistics.median(record["cost"]["wall_s"] for record in found), "same config"
    arch, protocol = backbone_of(config)["arch"], protocol_of(config)
    loop = config.get("train_cfg") or {}
    unit = next((unit for unit in ("epochs", "iters") if loop.get(f"max_{unit}")), None)
    alike = [
        record for record in records
        if record["kind"] == job.kind and record["backbone"]["arch"] == arch
        and (record["protocol"]["name"] == protocol or _kinds(record["protocol"]["config"]) == _kinds(flat))
        and (unit is None or record["schedule"][unit])
    ]  # fmt: skip
    if not alike:
        return None
    newest = max(alike, key=lambda record: record["finished_at"])
    scale = loop[f"max_{unit}"] / newest["schedule"][unit] if unit else 1.0
    return newest["cost"]["wall_s"] * scale, f"like {newest['label']}"


def _kinds(flat: Mapping[str, Any]) -> list[str]:
    """Return what two runs must share to take about the same time: the kind of model and the data."""
    keys = ("model.type", "train_dataloader.dataset.type", "eval_dataloader.dataset.type")
    return [str(flat.get(key)).rpartition(".")[2] for key in keys]


def makespan(jobs: Iterable[Job], states: Mapping[str, State], seconds: Mapping[str, float], slots: int) -> float:
    """Return the wall seconds until all jobs are done, each started as soon as what it needs and a slot are there."""
    pending = [job for job in jobs if states[job.name].name != "done"]
    ended = {name for name, state in states.items() if state.name == "done"}
    running: list[tuple[float, str, int]] = []  # end, name, slots
    now, free = 0.0, slots
    while pending or running:
        for job in list(pending):
            width = min(job.gpus, slots)
            if width <= free and ended.issuperset(job.after):
                pending.remove(job)
                free -= width
                running.append((now + seconds.get(job.name, 0.0), job.name, width))
        running.sort()
        now, name, width = running.pop(0)
        ended.add(name)
        free += width
    return now


def table(root: Path, suite: Suite, states: Mapping[str, State], arguments: list[str]) -> int:
    """Print the table of what is done, by tools/table.py; return its exit status.

    Args:
        arguments: for tools/table.py, behind those of the suite's `table`.
    """
    done = [job for job in suite.jobs.values() if states[job.name].name == "done"]
    places = [str(suite.folder(job.name)) for job in done if job.kind in ("pretrain", "transfer")]
    if not any(job.kind == "transfer" for job in done):
        print("no table yet: no downstream job is done")
        return 0
    said = []
    for key, value in suite.table.items():
        if isinstance(value, bool):  # a switch
            said += [f"--{key.replace('_', '-')}"] * value
            continue
        said += [f"--{key}", ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    sys.stdout.flush()
    words = [sys.executable, str(Path(root, "tools", "table.py")), *places, *said, *arguments]
    return subprocess.run(words, check=False).returncode
