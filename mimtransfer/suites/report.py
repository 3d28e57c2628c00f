"""What the screen shows of a suite: the plan, and the table of what is done."""
from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mimtransfer.suites.estimate import Costs, Estimate, makespan
from mimtransfer.suites.inputs import Inputs
from mimtransfer.suites.state import State, Study
from mimtransfer.suites.suite import Suite


def plan(study: Study, states: Mapping[str, State], slots: int, full: bool) -> str:
    """Return the plan: every cell that is to run, with what is known of its cost.

    Args:
        slots: cells that run at a time.
        full: name the cells that are done, too.
    """
    suite = study.suite
    todo = [cell for cell in suite.cells.values() if states[cell.name].name != "done"]
    # Records are read only when there is something to estimate.
    costs = Costs([suite.work_dir, suite.work_dir.parent, *suite.records]) if todo else None
    lines, seconds = [], {}
    width = max((len(name) for name in suite.cells), default=0)
    for cell in suite.cells.values():
        state = states[cell.name]
        if state.name == "done":
            if full:
                lines.append(f"  {cell.name:{width}}  done")
            continue
        found = _estimate(costs, study.inputs, cell)
        if found is not None:
            seconds[cell.name] = found.seconds
        cost = f"{duration(found.seconds):>8}  ({found.source})" if found else f"{'?':>8}"
        gpus = f"  {cell.gpus} GPUs" if cell.gpus > 1 else ""
        lines.append(f"  {cell.name:{width}}  {state.name:7} {cost}{gpus}{'  ' + state.why if state.why else ''}")
    counts = Counter(state.name for state in states.values())
    done = counts.pop("done", 0)
    head = f"{suite.path}: {len(states)} cells, {done} done"
    if todo:
        work = sum(seconds[cell.name] * cell.gpus for cell in todo if cell.name in seconds)
        unknown = sum(cell.name not in seconds for cell in todo)
        wall = makespan(suite.cells.values(), states, seconds, slots)
        head += f", {len(todo)} to run"
        head += f": {duration(work)} of work, about {duration(wall)} with {slots} at a time" if seconds else ""
        head += f", {'and ' * bool(seconds)}{unknown} of unknown cost" if unknown else ""
    return "\n".join([head, *lines])


def _estimate(costs: Costs, inputs: Inputs, cell) -> Estimate | None:
    if cell.kind not in ("pretrain", "transfer"):
        return None
    from mimtransfer.results.fingerprint import protocol_config

    config = inputs.config(cell)
    flat = protocol_config(config, "test" if inputs.tool(cell) == "test" else "val", cell.gpus)
    return costs.estimate(cell, config, flat)


def duration(seconds: float) -> str:
    """Word a time in two parts at most: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def table(root: Path, suite: Suite, states: Mapping[str, State], arguments: list[str]) -> int:
    """Print the table of what is done, by tools/table.py; return its exit status.

    Args:
        arguments: for tools/table.py, behind those of the suite's `table`.
    """
    done = [cell for cell in suite.cells.values() if states[cell.name].name == "done"]
    places = [str(suite.folder(cell)) for cell in done if cell.kind in ("pretrain", "transfer")]
    if not any(cell.kind == "transfer" for cell in done):
        print("no table yet: no downstream cell is done")
        return 0
    said = []
    for key, value in suite.table.items():
        said += [f"--{key}", ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    sys.stdout.flush()
    words = [sys.executable, str(Path(root, "tools", "table.py")), *places, *said, *arguments]
    return subprocess.run(words, check=False).returncode
