"""A suite file, and the cells it stands for: one run of one tool each. docs/suites.md describes the file."""
from __future__ import annotations

import re
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_files, near_matches

_VARIABLES = ("work_dir", "seeds", "data", "tokenizers", "pretrainings", "tasks", "table", "records", "slurm")
_FIELDS = {
    "data": ("command", "makes"),
    "tokenizers": ("config", "options", "seeds", "slurm"),
    "pretrainings": ("config", "options", "seeds", "amp", "compile", "gpus", "slurm", "checkpoint"),
    "tasks": ("config", "options", "seeds", "amp", "gpus", "slurm", "of", "only", "skip"),
}
_TOOLS = {"tokenizers": "fit_tokenizer", "pretrainings": "pretrain"}
_PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        name: of the cell and of its work dir, e.g. `det_mae-seed0`.
        kind: `data`, `tokenizer`, `pretrain` or `transfer`.
        tool: tools/TOOL.py; None for a task, whose config says whether `train` or `test` runs it.
        start: cell or checkpoint file that the backbone starts from.
        of: cell whose trained model is tested.
        after: every cell that has to be done before, those in `start`, `of` and options included.
        command, makes: of a data cell.
    """

    name: str
    kind: str
    seed: int | None = None
    tool: str | None = None
    config: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    of: str | None = None
    after: tuple[str, ...] = ()
    amp: bool = False
    compile: bool = False
    gpus: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None
    makes: str | None = None


@dataclass(frozen=True)
class Suite:
    """What a suite file says, with its cells in an order in which they can run."""

    path: str
    work_dir: Path
    cells: dict[str, Cell]
    table: Mapping[str, Any]
    records: Sequence[str]

    def folder(self, cell: Cell) -> Path:
        """Return the work dir of a cell."""
        return self.work_dir / cell.name

    def only(self, patterns: Sequence[str]) -> Suite:
        """Keep the cells whose names match one of the shell patterns, and what these need.

        Raises:
            UserError: a pattern that matches nothing.
        """
        import fnmatch

        wanted: list[str] = []
        for pattern in patterns:
            found = fnmatch.filter(self.cells, pattern)
            if not found:
                hint = near_matches(pattern, self.cells) or f"cells are {', '.join(self.cells)}"
                raise UserError(f"{self.path}: no cell matches {pattern!r}; {hint}")
            wanted += found
        needed: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name not in needed:
                needed.add(name)
                wanted += self.cells[name].after
        return replace(self, cells={name: cell for name, cell in self.cells.items() if name in needed})


def load_suite(path: str, seeds: Sequence[int] | None = None, work_dir: str | None = None) -> Suite:
    """Read a suite file.

    Args:
        path: a Python file of plain variables.
        seeds, work_dir: stand before the file's own.

    Raises:
        UserError: no such file, an unknown variable or field, or a name that nothing has.
    """
    if not Path(path).is_file():
        raise UserError(f"suite {path!r} does not exist{near_files(path)}")
    said = {key: value for key, value in runpy.run_path(path).items() if not key.startswith("_")}
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
    found = _Expansion(path, said, list(seeds if seeds is not None else said.get("seeds", [0]))).cells
    folder = Path(work_dir or said.get("work_dir") or Path("work_dirs", Path(path).stem))
    return Suite(path, folder, _in_order(path, found), said.get("table", {}), said.get("records", ()))


class _Expansion:
    """Cells of a suite: each entry times its seeds, each task times the pretrainings too."""

    def __init__(self, path: str, said: Mapping[str, Any], seeds: list[int]) -> None:
        self.path, self.said, self.seeds = path, said, seeds
        self.slurm = said.get("slurm", {})
        self.data = tuple(said.get("data", {}))
        self.runs = self._runs()
        cells = [Cell(name, "data", command=entry["command"], makes=entry["makes"], slurm=self.slurm)
                 for name, entry in said.get("data", {}).items()]
        for kind in ("tokenizers", "pretrainings"):
            for name, entry in said.get(kind, {}).items():
                if entry is not None and "config" in entry:
                    cells += [self._run(f"{name}-seed{seed}", kind, entry, seed) for seed in self._seeds(entry)]
        for task, entry in said.get("tasks", {}).items():
            for start in self._starts(task, entry):
                cells += [self._transfer(task, entry, start, seed) for seed in self._seeds(entry)]
        self.cells = {cell.name: cell for cell in cells}

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

    def _run(self, name: str, kind: str, entry: Mapping[str, Any], seed: int, **fields: Any) -> Cell:
        placed: list[str] = []

        def place(found: re.Match) -> str:
            placed.append(self._cell(found.group(1), seed, name))
            return "{" + placed[-1] + "}"

        options = {key: _PLACEHOLDER.sub(place, value) if isinstance(value, str) else value
                   for key, value in entry.get("options", {}).items()}
        start, of = fields.get("start"), fields.get("of")
        inputs = [other for other in (start, of) if other in self.runs]
        return Cell(
            name, kind.removesuffix("s").replace("pretraining", "pretrain").replace("task", "transfer"), seed,
            tool=_TOOLS.get(kind), config=entry["config"], options=options,
            after=tuple(dict.fromkeys([*self.data, *inputs, *placed])),
            amp=entry.get("amp", False), compile=entry.get("compile", False), gpus=entry.get("gpus", 1),
            slurm={**self.slurm, **entry.get("slurm", {})}, **fields,
        )  # fmt: skip

    def _transfer(self, task: str, entry: Mapping[str, Any], start: str, seed: int) -> Cell:
        name, source = f"{task}_{start}-seed{seed}", self.said["pretrainings"][start]
        if "of" in entry:
            return self._run(name, "tasks", entry, seed, of=self._cell(f"{entry['of']}_{start}", seed, name))
        if source is None:
            return self._run(name, "tasks", entry, seed)
        checkpoint = source["checkpoint"] if "checkpoint" in source else self._cell(start, seed, name)
        return self._run(name, "tasks", entry, seed, start=checkpoint)

    def _runs(self) -> set[str]:
        """Return the names of all cells but those of data."""
        entries = {**self.said.get("tokenizers", {}), **self.said.get("pretrainings", {})}
        for task, entry in self.said.get("tasks", {}).items():
            entries |= {f"{task}_{start}": entry for start in self._starts(task, entry)}
        return {f"{name}-seed{seed}" for name, entry in entries.items() if entry and "config" in entry
                for seed in self._seeds(entry)}

    def _cell(self, name: str, seed: int, of: str) -> str:
        """Return the cell of an entry that has this seed, else its only one."""
        if name in self.data:
            return name
        found = sorted(cell for cell in self.runs if re.fullmatch(re.escape(name) + r"-seed\d+", cell))
        if f"{name}-seed{seed}" in found:
            return f"{name}-seed{seed}"
        if len(found) != 1:
            known = sorted({cell.rpartition("-seed")[0] for cell in self.runs})
            why = f"has the seeds {', '.join(cell.rpartition('-seed')[2] for cell in found)}" if found else (
                f"is nothing here; {_hint(name, known)}")
            raise UserError(f"{self.path}: {of} needs {name!r} of seed {seed}, which {why}")
        return found[0]


def _check_entry(path: str, kind: str, name: str, entry: Any, known: Sequence[str]) -> None:
    where = f"{path}: {kind}[{name!r}]"
    if not re.fullmatch(r"[A-Za-z0-9][\w.+]*", name):
        raise UserError(f"{where}: a name is made of letters, digits and . _ +, since it names folders")
    if entry is None and kind == "pretrainings":
        return
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} is {entry!r}, expected dict(config=...)")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: unknown field {key!r}; {_hint(key, known)}")
    needed = ("command", "makes") if kind == "data" else ("config",)
    if kind == "pretrainings" and "checkpoint" in entry:
        needed = ()
        if "config" in entry:
            raise UserError(f"{where} has a config and a checkpoint; keep the one to run or the file to start from")
    for key in needed:
        if key not in entry:
            raise UserError(f"{where} lacks {key!r}")


def _in_order(path: str, cells: dict[str, Cell]) -> dict[str, Cell]:
    """Put every cell behind those it needs, and leave the order as it is otherwise."""
    ordered: dict[str, Cell] = {}
    while len(ordered) < len(cells):
        ready = [cell for cell in cells.values() if cell.name not in ordered and ordered.keys() >= set(cell.after)]
        if not ready:
            raise UserError(f"{path}: {', '.join(sorted(cells.keys() - ordered.keys()))} need each other")
        ordered |= {cell.name: cell for cell in ready}
    return ordered


def _hint(name: str, known: Sequence[str]) -> str:
    return near_matches(name, known) or f"known: {', '.join(known)}"
