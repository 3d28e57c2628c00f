"""Run tests in a process of their own, so that a crash of a kernel is a row of the report and not its end."""
from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
# Its operators run on a GPU by themselves where there is one.
OPERATORS = "tests/mimtransfer/openmmlab/mmcv_ext"


def run_tests(
    device: str, places: Sequence[str], timeout: float, env: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run pytest on files or folders of the checkout.

    Args:
        device: for its option `--device`.
        places: relative to the checkout.
        timeout: seconds after which the process is ended.
        env: its environment; None: that of this process.

    Returns:
        `name`, `outcome` ("passed", "failed", "skipped", "error"), `seconds` and `message` of each test. A process that
        ends without a result is one row, "error".
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "tests.xml")
        options = ["--device", device, f"--junitxml={result}", "-p", "no:xdist"]
        command = [sys.executable, "-m", "pytest", *places, *options]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=env)
            ended = f"status {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}"
        except subprocess.TimeoutExpired:
            ended = f"took longer than {timeout:.0f} s"
        cases = [*ElementTree.parse(result).iter("testcase")] if result.is_file() else []
        if not cases:
            return [dict(name=" ".join(places), outcome="error", seconds=0.0, message=f"no result, {ended}")]
        return [_row(case) for case in cases]


def _row(case: ElementTree.Element) -> dict[str, Any]:
    outcome, message = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = {"failure": "failed"}.get(child.tag, child.tag)
            message = " ".join((child.get("message") or child.text or "").split())[:500]
    name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
    return dict(name=name, outcome=outcome, seconds=float(case.get("time") or 0), message=message)
