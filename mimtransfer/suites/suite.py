"""From a suite file to its jobs: one run of one tool each. docs/suites.md describes the file."""
from __future__ import annotations

import os
import re
import runpy
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_files, near_matches
from mimtransfer.shipped.configs import leaves, locate

_VARIABLES = ("work_dir", "seeds", "data", "tokenizers", "pretrainings", "tasks", "table", "records", "slurm",
              "curves")
_FIELDS = {
    "data": ("command", "makes"),
    "tokenizers": ("config", "options", "seeds", "slurm"),
    "pretrainings": ("config", "options", "seeds", "amp", "compile", "gpus", "slurm", "checkpoint",
                     "backbone", "source"),
    "tasks": ("config", "options", "seeds", "amp", "gpus", "slurm", "of", "only", "skip"),
}
_OF_CHECKPOINTS = ("checkpoint", "backbone", "source")  # the fields of a pretraining that is not run
# variable of the suite file -> kind of its jobs, their tool; the config of a task says whether it trains or tests
_KINDS = {"tokenizers": ("tokenizer", "fit_tokenizer"), "pretrainings": ("pretrain", "pretrain"),
          "tasks": ("transfer", None)}
_SEED = "seed"  # in an option {seed} is that of the job
_PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        name: of the job and of its work dir, e.g. `det_mae-seed0`.
        kind: `data`, `tokenizer`, `pretrain` or `transfer`.
        tool: tools/TOOL.py; None for a task, whose config says whether `train` or `test` runs it.
        start: job or checkpoint file that the backbone starts from.
        source: where that file comes from, for when it is missing.
        of: job whose trained model is tested.
        after: every job that has to be done before, those in `start`, `of` and options included.
        command, makes: of a data job.
    """

    name: str
    kind: str
    seed: int | None = None
    tool: str | None = None
    config: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    source: str = ""
    of: str | None = None
    after: tuple[str, ...] = ()
    amp: bool = False
    compile: bool = False
    gpus: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    makes: str = ""


@dataclass(frozen=True)
class Suite:
    """What a suite file says, with its jobs in an order in which they can run."""

    path: str
    work_dir: Path
    jobs: dict[str, Job]
    table: Mapping[str, Any]
    records: Sequence[str]
    curves: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """Return the work dir of a job."""
        return self.work_dir / name

    def only(self, patterns: Sequence[str]) -> Suite:
        """Keep the jobs whose names match one of the shell patterns, and what these need.

        Raises:
            UserError: a pattern that matches nothing.
        """
        import fnmatch

        wanted: list[str] = []
        for pattern in patterns:
            found = fnmatch.filter(self.jobs, pattern)
            if not found:
                hint = near_matches(pattern, self.jobs) or f"jobs are {', '.join(self.jobs)}"
                raise UserError(f"{self.path}: no job matches {pattern!r}; {hint}")
            wanted += found
        needed: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name not in needed:
                needed.add(name)
                wanted += self.jobs[name].after
        return replace(self, jobs={name: job for name, job in self.jobs.items() if name in needed})


def load_suite(path: str, seeds: Sequence[int] | None = None, work_dir: str | None = None) -> Suite:
    """Read a suite file.

    Args:
        path: a Python file of plain variables, or the short name of a suite that is shipped.
        seeds, work_dir: stand before the file's own.

    Raises:
        UserError: no such file, none that Python can run, an unknown variable or field, or a name that nothing has.
    """
    path = _find_suite(path)
    said = {key: value for key, value in _variables(path).items() if not key.startswith("_")}
    said = {key: value for key, value in said.items() if not isinstance(value, type(re)) and not callable(value)}
    for key in said:
        if key not in _VARIABLES:
            raise UserError(f"{path}: unknown variable {key!r}; {_hint(key, _VARIABLES)} (a helper begins with '_')")
    for kind, known in _FIELDS.items():
        for name, entry in said.get(kind, {}).items():
            _check_entry(path, kind, name, entry, known)
    names = [name for kind in _FIELDS for name in said.get(kind, {})]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: two entries are called {sorted(twice)[0]!r}; give them different names")
    jobs = _Expansion(path, said, list(seeds if seeds is not None else said.get("seeds", [0]))).jobs()
    folder = Path(work_dir or said.get("work_dir") or Path("work_dirs", Path(path).stem))
    return Suite(path, folder, _in_order(path, jobs), said.get("table", {}), said.get("records", ()),
                 said.get("curves", {}))


def _find_suite(path: str) -> str:
    found = locate(path, suites=True)
    if found is None:
        hint = near_files(path)
        if "did you mean" not in hint and (near := near_matches(Path(path).stem, [one.stem for one in leaves(True)])):
            hint = f"; {near}"
        raise UserError(f"suite {path!r} does not exist{hint}")
    if not found.endswith(".py"):
        raise UserError(f"suite {found!r} is no Python file; docs/suites.md describes one")
    return found


def _variables(path: str) -> dict[str, Any]:
    """Run a suite file; return its variables.

    Raises:
        UserError: what Python says, with the line of the file.
    """
    try:
        return runpy.run_path(path)
    except SyntaxError as error:
        line = error.lineno if error.filename in (path, os.path.abspath(path), "<string>") else None
        told, kind = error.msg, ""
    except Exception as error:  # whatever the user's own lines raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line, told, kind = lines[-1] if lines else None, str(error), f"{type(error).__name__}: "
    place = f"suite {path!r}" + (f", line {line}" if line else "")
    raise UserError(f"{place}: {kind}{' '.join(told.split())}; docs/suites.md describes a suite")


def fill(value: Any, change: Callable[[str], str]) -> Any:
    """Replace every `{name}` in an option, also in lists, by what `change` makes of the name."""
    if isinstance(value, list | tuple):
        return type(value)(fill(item, change) for item in value)
    return _PLACEHOLDER.sub(lambda found: change(found[1]), value) if isinstance(value, str) else value


class _Expansion:
    """Jobs of a suite: each entry times its seeds, each task times the pretrainings too."""

    def __init__(self, path: str, said: Mapping[str, Any], seeds: list[int]) -> None:
        self.path, self.said, self.seeds = path, said, seeds
        self.data = tuple(said.get("data", {}))
        self.asked: list[tuple[str, int]] = []  # run and seed of each job
        # A run of every seed: name -> variable of the suite file, entry, and the pretraining that a task starts from.
        self.runs: dict[str, tuple[str, Mapping[str, Any], str | None]] = {
            name: (variable, entry, None) for variable in ("tokenizers", "pretrainings")
            for name, entry in said.get(variable, {}).items() if entry is not None and "config" in entry
        }  # fmt: skip
        for task, entry in said.get("tasks", {}).items():
            self.runs |= {f"{task}_{start}": ("tasks", entry, start) for start in self._starts(task, entry)}

    def jobs(self) -> dict[str, Job]:
        """Return name -> job, not yet in an order in which they can run."""
        slurm = self.said.get("slurm", {})
        # One after the other: the second command may read what the first has made.
        jobs = [Job(name, "data", after=self.data[:i], command=entry["command"], makes=entry["makes"], slurm=slurm)
                for i, (name, entry) in enumerate(self.said.get("data", {}).items())]
        self.asked = [(name, seed) for name, (_, entry, _) in self.runs.items() for seed in self._seeds(entry)]
        jobs += [self._job(name, seed) for name, seed in self.asked]  # `_find` puts more behind them
        return {job.name: job for job in jobs}

    def _seeds(self, entry: Mapping[str, Any]) -> list[int]:
        return list(entry.get("seeds", self.seeds))

    def _starts(self, task: str, entry: Mapping[str, Any]) -> list[str]:
        known = list(self.said.get("pretrainings", {}))
        if "of" in entry:
            trained = self.said["tasks"].get(entry["of"])
            if trained is None or "of" in trained:
                hint = _hint(entry["of"], [name for name, other in self.said["tasks"].items() if "of" not in other])
                raise UserError(f"{self.path}: task {task!r} is of {entry['of']!r}, which trains nothing; {hint}")
            known = self._starts(entry["of"], trained)
        for name in [*entry.get("only", ()), *entry.get("skip", ())]:
            if name not in known:
                raise UserError(f"{self.path}: task {task!r} names the pretraining {name!r}; {_hint(name, known)}")
        return [name for name in known if name in entry.get("only", known) and name not in entry.get("skip", ())]

    def _job(self, run: str, seed: int) -> Job:
        variable, entry, pretraining = self.runs[run]
        name, needed = f"{run}-seed{seed}", list(self.data)

        def find(other: str) -> str:
            needed.append(self._find(other, seed, name))
            return needed[-1]

        def filled(other: str) -> str:
            return str(seed) if other == _SEED else f"{{{find(other)}}}"

        start = of = None
        origin = self.said.get("pretrainings", {}).get(pretraining) or {}
        if "of" in entry:
            of = find(f"{entry['of']}_{pretraining}")
        elif pretraining is not None and origin:
            start = origin["checkpoint"] if "checkpoint" in origin else find(pretraining)
        kind, tool = _KINDS[variable]
        options = {key: seed if value == f"{{{_SEED}}}" else fill(value, filled)  # alone it stays a number
                   for key, value in entry.get("options", {}).items()}
        options |= {f"model.backbone.{key}": value for key, value in origin.get("backbone", {}).items()}
        source = origin.get("source", "") if of is None else ""
        config = locate(entry["config"]) or entry["config"]
        return Job(
            name, kind, seed, tool, config, options, start, source, of, after=tuple(dict.fromkeys(needed)),
            amp=entry.get("amp", False), compile=entry.get("compile", False), gpus=entry.get("gpus", 1),
            slurm={**self.said.get("slurm", {}), **entry.get("slurm", {})},
        )  # fmt: skip

    def _find(self, name: str, seed: int, of: str) -> str:
        """Return the job of a run that has this seed, else its only job; of data, the one that makes them."""
        if name in self.data:
            return name
        entry = self.runs[name][1] if name in self.runs else {"seeds": []}
        seeds = self._seeds(entry)
        if "seeds" not in entry and seed not in seeds and seed in self.said.get("seeds", [0]):
            # --seeds 1 left it out, but e.g. the one codebook of all seeds is made from it.
            seeds = [*seeds, seed]
            self.asked += [(name, seed)] if (name, seed) not in self.asked else []
        if seed in seeds or len(seeds) == 1:
            return f"{name}-seed{seed if seed in seeds else seeds[0]}"
        why = f"has the seeds {', '.join(map(str, seeds))}" if seeds else f"is nothing here; {_hint(name, self.runs)}"
        raise UserError(f"{self.path}: {of} needs {name!r} of seed {seed}, which {why}")


def _check_entry(path: str, kind: str, name: str, entry: Any, known: Sequence[str]) -> None:
    where = f"{path}: {kind}[{name!r}]"
    if name == _SEED:
        raise UserError(f"{where}: {{seed}} in an option is the seed of the job; give the entry another name")
    if not re.fullmatch(r"[A-Za-z0-9][\w.+]*", name):
        raise UserError(f"{where}: a name is made of letters, digits and . _ +, since it names folders")
    if entry is None and kind == "pretrainings":
        return
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} is {entry!r}, expected dict(config=...)")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: unknown field {key!r}; {_hint(key, known)}")
    needed: tuple[str, ...] = ("command", "makes") if kind == "data" else ("config",)
    if kind == "pretrainings" and "checkpoint" in entry:
        needed = ()
        if "config" in entry:
            raise UserError(f"{where} has a config and a checkpoint; keep the one to run or the file to start from")
    read = set(known) - set(_OF_CHECKPOINTS) if needed else _OF_CHECKPOINTS
    unread = [key for key in entry if key not in read]
    if unread:
        what = "is run" if needed else "is a checkpoint, nothing is run"
        raise UserError(f"{where} {what}, so nothing reads its {unread[0]!r}; leave it out"
                        + ("" if needed else ", or set it in the tasks"))
    if not isinstance(entry.get("source", ""), str) or not isinstance(entry.get("backbone", {}), Mapping):
        raise UserError(f"{where}: expected source='where the file comes from' and backbone=dict(arch=...)")
    for key in needed:
        if key not in entry:
            raise UserError(f"{where} lacks {key!r}")


def _in_order(path: str, jobs: dict[str, Job]) -> dict[str, Job]:
    """Put every job behind those it needs, and leave the order as it is otherwise."""
    ordered: dict[str, Job] = {}
    while len(ordered) < len(jobs):
        ready = [job for job in jobs.values() if job.name not in ordered and ordered.keys() >= set(job.after)]
        if not ready:
            raise UserError(f"{path}: {', '.join(sorted(jobs.keys() - ordered.keys()))} need each other")
        ordered |= {job.name: job for job in ready}
    return ordered


def _hint(name: str, known: Collection[str]) -> str:
    return near_matches(name, known) or f"known: {', '.join(known)}"
