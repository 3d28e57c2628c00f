"""The report of a GPU: what was tested and timed on it, as JSON, and as Markdown that is rendered from the JSON alone.

It is written again after each group of cases, so that an interrupted report holds all that was measured until then.
"""
from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from mimtransfer.benchmarks.timing import Contender, Figure
from mimtransfer.files import write_atomically
from mimtransfer.planning.gpus import peak_flops
from mimtransfer.results import provenance

SCHEMA = 1
OK, FAILED, LEFT_OUT = "ok", "failed", "left out"


def describe_machine(device: str) -> dict[str, Any]:
    """Return names and versions: `device`, `device_type`, `memory_bytes`, `threads`, `cores`, `torch`, `cuda`,
    `cudnn`, `capability`, and those of `provenance.versions`.
    """
    cuda = device.startswith("cuda")
    found: dict[str, Any] = {**provenance.device(), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    if cuda:
        properties = torch.cuda.get_device_properties(torch.device(device))
        found |= {"device": properties.name, "device_type": "cuda", "memory_bytes": properties.total_memory,
                  "capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda,
                  "cudnn": torch.backends.cudnn.version(), "devices": torch.cuda.device_count()}
    return {**found, "versions": provenance.versions()}


class Report:
    """Rows, in files that are always whole.

    Args:
        folder: of `<device>_<date>.json` and `.md`.
        facts: of the machine, see `machine.describe`.
        setting: options of the command line.
        git: of the code, see `provenance.git_state`.
    """

    def __init__(self, folder: str | Path, facts: Mapping[str, Any], setting: Mapping[str, Any], git: Any) -> None:
        began = datetime.now(timezone.utc)
        name = re.sub(r"[^a-z0-9]+", "-", str(facts["device"]).lower()).strip("-")
        self.path = Path(folder, f"{name}_{began:%Y-%m-%d}.json")
        self.content: dict[str, Any] = dict(
            schema=SCHEMA, machine=dict(facts), setting=dict(setting), git=git, complete=False, seconds=None,
            started_at=began.isoformat(timespec="seconds"), tests=[], rows=[],
        )  # fmt: skip
        self._began = began

    @property
    def seconds(self) -> float:
        """Seconds since the report began."""
        return (datetime.now(timezone.utc) - self._began).total_seconds()

    def add(self, rows: Iterable[Mapping[str, Any]], kind: str = "rows") -> None:
        """Add rows of `tests` or `rows`, and write."""
        self.content[kind] += map(dict, rows)
        self.write()

    def finish(self) -> None:
        """Say that nothing is missing, and write."""
        self.content["complete"] = True
        self.write()

    def write(self) -> None:
        """Write both files, each in one step."""
        self.content["seconds"] = round(self.seconds, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.content, indent=1, allow_nan=False) + "\n")
        write_atomically(self.path.with_suffix(".md"), render(self.content))

    @property
    def failures(self) -> list[str]:
        """Names of the tests that failed and of the cases that did."""
        tests = [test["name"] for test in self.content["tests"] if test["outcome"] != "passed"]
        return tests + [f"{row['group']}: {row['name']}" for row in self.content["rows"] if row["status"] == FAILED]


def row_of(
    group: str, name: str, about: Mapping[str, Any], contender: Contender | None, figure: Figure,
    first: Figure | None, device: str, tflops: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the row of a case.

    Args:
        group: whose cases ran in turns.
        name: of the case.
        about: `config`, `batch_size`, `precision` ("fp32" or "bf16"), `compiled`.
        contender: what was timed; None where it failed.
        figure: what was measured.
        first: of the group's first case; None where that failed.
        device: name, for the MFU.
        tflops: what the user says of it.
    """
    row = dict(group=group, name=name, **about, status=FAILED if figure.error else OK, error=figure.error)
    if contender is None or not figure.seconds:
        return {**row, "status": FAILED, "error": figure.error or "not measured"}
    seconds, ordered = statistics.median(figure.seconds), sorted(figure.seconds)
    peak, flops = peak_flops(device, str(about["precision"]), tflops), contender.flops
    ratios = [one / other for one, other in zip(figure.seconds, first.seconds)] if first else []
    last = len(ordered) - 1
    return {
        **row,
        "seconds": seconds,
        "seconds_p10": ordered[round(0.1 * last)],
        "seconds_p90": ordered[round(0.9 * last)],
        "turns": len(ordered),
        "images_per_s": contender.images / seconds,
        "time_ratio": statistics.median(ratios) if ratios else None,
        "gflop_per_image": flops / contender.images / 1e9 if flops else None,
        "mfu": flops / seconds / peak if flops and peak else None,
        "memory_bytes": figure.memory,
    }


def left_out(group: str, name: str, about: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Return the row of a case that did not run."""
    return dict(group=group, name=name, **about, status=LEFT_OUT, error=why)


def render(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    machine, setting = content["machine"], content["setting"]
    lines = [f"# {machine['device']}, {content['started_at'][:10]}", ""]
    whole = "complete" if content["complete"] else "**not complete: the run was interrupted, or still runs**"
    git = content["git"] or {}
    commit = f"commit {git['commit'][:10]}{' with changes' if git.get('dirty') else ''}" if git else "no git"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    cuda = f", CUDA {machine['cuda']}, cuDNN {machine['cudnn']}" if "cuda" in machine else ""
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
    lines += [f"{content['seconds']:.0f} s, {whole}. {commit}.", "",
              f"{machine['device']}{memory}, {machine['cores']} cores, {machine['threads']} threads{cuda}. {versions}.",
              ""]
    if setting.get("quick"):
        lines += ["`--quick`: tiny models, which say that the code runs, not how fast a GPU is.", ""]
    tests = content["tests"]
    if tests:
        failed = [test for test in tests if test["outcome"] != "passed"]
        lines += ["## Tests", "", f"{len(tests) - len(failed)} of {len(tests)} passed, "
                  f"{sum(test['seconds'] for test in tests):.0f} s.", ""]
        if failed:
            lines += ["| test | outcome | message |", "|---|---|---|"]
            lines += [f"| {_cell(test['name'])} | {test['outcome']} | {_cell(test['message'])} |" for test in failed]
            lines.append("")
    for group in dict.fromkeys(row["group"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["group"] == group]
        lines += [f"## {group}", "", *_table(rows), ""]
    lines += ["Seconds by CUDA events on a GPU, median of turns (10th to 90th percentile); cases of a table ran in "
              "turns, and `time / first` is the median over turns. MFU: operations counted by torch, of the dense peak "
              "that the maker gives for bf16, or for TF32 where the precision is fp32. Memory: of the case alone, "
              "weights and optimizer included.", ""]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| case | batch | ms a step | images/s | time / first | GFLOP an image | MFU | peak memory |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        name = f"{row['name']}, {row['precision']}"
        if row["status"] != OK:
            lines.append(f"| {_cell(name)} | {row['batch_size']} | {row['status']}: {_cell(row['error'])} | | | | | |")
            continue
        spread = f"{row['seconds_p10'] * 1e3:.4g} - {row['seconds_p90'] * 1e3:.4g}"
        memory = None if row["memory_bytes"] is None else row["memory_bytes"] / 2**30
        cells = [_cell(name), str(row["batch_size"]), f"{row['seconds'] * 1e3:.4g} ({spread})",
                 f"{row['images_per_s']:.4g}", _number(row["time_ratio"], ".3f"),
                 _number(row["gflop_per_image"], ".4g"), _number(row["mfu"], ".1%"), _number(memory, ".2f", " GiB")]
        lines.append(f"| {' | '.join(cells)} |")
    waits = [row for row in rows if row.get("data_wait") is not None]
    lines += [""] * bool(waits)
    lines += [f"{row['name']}: {row['data_wait']:.1%} of a step waits for data." for row in waits]
    return lines


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
