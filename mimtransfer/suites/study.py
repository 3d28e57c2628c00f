"""From a suite file to a `Study`."""
from collections.abc import Sequence
from pathlib import Path

from mimtransfer.suites.inputs import Inputs
from mimtransfer.suites.stat_cache import StatCache
from mimtransfer.suites.state import Study
from mimtransfer.suites.suite import load_suite


def open_study(
    root: Path,
    path: str,
    seeds: Sequence[int] | None = None,
    work_dir: str | None = None,
    only: Sequence[str] = (),
    accept_code: bool = False,
) -> Study:
    """Read a suite file and open its work dir.

    Args:
        root: of the checkout whose tools run.
        path, seeds, work_dir: see `load_suite`.
        only: see `Suite.only`.
        accept_code: what was made with other code counts as made.
    """
    suite = load_suite(path, seeds, work_dir)
    if only:
        suite = suite.only(only)
    return Study(suite, Inputs(root, StatCache(suite.work_dir / "suite-cache.json")), accept_code)
