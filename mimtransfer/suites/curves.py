"""Curves of a suite: which runs and marks they are made of, and what has been measured of them so far."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.curves.points import COSTS, KIND, SCHEMA
from mimtransfer.results.measurement import PRIMARY
from mimtransfer.results.record import FILE_NAME, read_record
from mimtransfer.stored import read_object
from mimtransfer.suites.state import Study
from mimtransfer.suites.suite import Job

MARKS = "marks"  # in the work dir of a run: an encoder, its cost and its evaluations for each mark
_NUMBER = (int, float)
_FIELDS: dict[str, tuple[Any, str]] = {
    "baseline": (str, "a name"), "images": ((list, tuple), "a list"), "seconds": ((list, tuple), "a list"),
    "clock": (str, "'cpu' or 'wall'"), "turn_epochs": (int, "an integer"), "title": (str, "a text"),
}  # fmt: skip
_COST: dict[str, Any] = {"mark": str, **dict.fromkeys(COSTS, _NUMBER)}


def settings(study: Study) -> dict[str, Any]:
    """Return the variable `curves` of a suite file with its defaults.

    Raises:
        UserError: the suite has none, or a value that is not understood.
    """
    path, said = study.suite.path, study.suite.curves
    if not said or not isinstance(said, Mapping):
        raise UserError(f"{path} has no dict 'curves': add curves = dict(baseline='mae', images=[...]), see "
                        "docs/time-to-accuracy.md")
    for key, value in said.items():
        if key not in _FIELDS:
            hint = near_matches(key, _FIELDS) or f"known: {', '.join(_FIELDS)}"
            raise UserError(f"{path}: curves: unknown field {key!r}; {hint}")
        if not isinstance(value, _FIELDS[key][0]) or isinstance(value, bool):
            raise UserError(f"{path}: curves[{key!r}] is {value!r}, expected {_FIELDS[key][1]}")
    found = {"images": [], "seconds": [], "clock": "cpu", "turn_epochs": 1, "title": "Time to accuracy", **said}
    names = {contender(run) for run in runs(study)}
    if found.get("baseline") not in names:
        raise UserError(f"{path}: curves: the baseline is {found.get('baseline')!r}, expected one of the pretrainings "
                        f"that are run: {', '.join(sorted(names))}")
    if found["clock"] not in ("cpu", "wall"):
        raise UserError(f"{path}: curves['clock'] is {found['clock']!r}, expected 'cpu' or 'wall'")
    marks = [*found["images"], *found["seconds"]]
    if any(type(mark) not in _NUMBER or mark < 0 for mark in marks) or found["turn_epochs"] < 1:
        raise UserError(f"{path}: curves: got images={found['images']}, seconds={found['seconds']}, turn_epochs="
                        f"{found['turn_epochs']}; expected numbers from 0 on, and 1 epoch or more")
    for run in runs(study):
        if run.gpus > 1:
            raise UserError(f"{path}: {run.name} asks for {run.gpus} GPUs; curves are measured on one device")
    return found


def runs(study: Study) -> list[Job]:
    """Return the pretrainings of a suite: the first seed of all contenders, then the second, and so on."""
    found = [job for job in study.suite.jobs.values() if job.kind == "pretrain"]
    return sorted(found, key=lambda run: rank(study, run))


def rank(study: Study, run: Job) -> int:
    """Return the place of a run among the seeds of its contender."""
    found = [job for job in study.suite.jobs.values() if job.kind == "pretrain"]
    return [job.name for job in found if contender(job) == contender(run)].index(run.name)


def contender(run: Job) -> str:
    """Return the name of a run's pretraining in the suite file."""
    return run.name.removesuffix(f"-seed{run.seed}")


def evaluations(study: Study, run: Job, mark: str) -> dict[str, Job]:
    """Return name of a task -> the job that evaluates the encoder of a mark; of tasks that train no backbone."""
    folder = study.suite.folder(run.name)
    return {
        task: replace(job, name=f"{run.name}/{MARKS}/{task}_{mark}", tool="test", after=(),
                      start=str(folder / MARKS / f"{mark}.pth"))
        for job in study.suite.jobs.values()
        # A task of another seed would start from a pretraining that has only one.
        if job.start == run.name and job.seed == run.seed and study.inputs.tool(job) == "test"
        for task in [job.name.removesuffix(f"_{run.name}")]
    }  # fmt: skip


def reached(study: Study, run: Job) -> list[dict[str, Any]]:
    """Return what `MarkHook` says of each mark that a run has saved, by images.

    Raises:
        UserError: a file is broken.
    """
    paths = study.suite.folder(run.name).joinpath(MARKS).glob("*.json")
    found = [read_object(path, _COST, "remove it, and call again") for path in paths if path.stem != "passes"]
    return sorted(found, key=lambda mark: (mark["images"], mark["mark"]))


def collect(study: Study, failures: dict[str, str]) -> dict[str, Any]:
    """Return what has been measured, as `results/curves/points.py` reads it.

    Raises:
        UserError: a file is broken, or evaluations of one task have other protocols than each other.
    """
    said = settings(study)
    points: list[dict[str, Any]] = []
    protocols: dict[str, dict[str, str]] = {}
    labels: dict[str, str] = {}
    devices: set[str] = set()
    for run in runs(study):
        for mark in reached(study, run):
            scores = {}
            for task, job in evaluations(study, run, mark["mark"]).items():
                if not study.is_done(job):
                    continue
                metric, scores[task], record = score(study, job)
                protocol = {"metric": metric, "protocol": record["protocol"]["name"],
                            "fingerprint": record["protocol"]["fingerprint"]}
                if protocols.setdefault(task, protocol) != protocol:
                    raise UserError(f"{study.suite.folder(job.name)}: {task} is measured by {protocol}, elsewhere by "
                                    f"{protocols[task]}; remove the older evaluations and call again")
                labels[contender(run)] = record["label"]
                devices.add(record["cost"]["device"] or "unknown")
            if scores:
                cost = {key: mark[key] for key in _COST}
                points.append({"contender": contender(run), "seed": run.seed, **cost, "scores": scores})
    named = list(labels.values())
    labels = {name: label if named.count(label) == 1 else f"{label} ({name})" for name, label in labels.items()}
    return {"schema": SCHEMA, "kind": KIND, **{key: said[key] for key in ("title", "baseline", "clock")},
            "suite": study.suite.path, "device": ", ".join(sorted(devices)), "labels": labels, "tasks": protocols,
            "points": points, "failed": failures}


def progress(study: Study, run: Job) -> str:
    """Say how far a run is: its newest mark, what it took, its scores."""
    marks = reached(study, run)
    if not marks:
        return "no mark yet"
    mark = marks[-1]
    said = [f"{mark['images']:,} images", f"{mark['cpu_s']:.0f} s CPU", f"{mark['wall_s']:.0f} s wall"]
    for task, job in evaluations(study, run, mark["mark"]).items():
        if study.is_done(job):
            said.append(f"{task} {score(study, job)[1]:.1f}")
    return f"mark {mark['mark']}: {', '.join(said)}"


def score(study: Study, job: Job) -> tuple[str, float, dict[str, Any]]:
    """Return the main metric of a done evaluation, its value, and the record."""
    record = read_record(Path(study.suite.folder(job.name), FILE_NAME))
    metric = next(name for name in (*PRIMARY, *record["metrics"]) if name in record["metrics"])
    return metric, record["metrics"][metric]["value"], record
