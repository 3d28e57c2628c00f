"""Compare the rows of a table with its baseline: differences, and which of them seeds alone would hardly make.

Student (1908), "The probable error of a mean"; Holm (1979), "A simple sequentially rejective multiple test procedure".
"""
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.description import RANDOM_INIT
from mimtransfer.results.rows import PairedTest, Table, pretraining_run


def compare(table: Table, baseline: str | None) -> None:
    """Fill the differences and tests of all cells, and say below the table how they are meant.

    Args:
        baseline: label of a row; None: random init, where there is such a row.

    Raises:
        UserError: no row has the label.
    """
    rows = {row.label: row for row in table.rows}
    if baseline is None and RANDOM_INIT not in rows:
        return
    table.baseline = baseline or RANDOM_INIT
    if table.baseline not in rows:
        hint = near_matches(table.baseline, list(rows)) or f"rows are {', '.join(map(repr, rows))}"
        raise UserError(f"--baseline: no row is labelled {table.baseline!r}; {hint}")
    pairs = set()
    for column, base in rows[table.baseline].cells.items():
        cells = [row.cells[column] for row in table.rows if row.label != table.baseline and column in row.cells]
        for cell in cells:
            cell.difference = cell.mean - base.mean
            cell.test = paired_test(cell.by_seed, base.by_seed)
        tested = [(cell, cell.test) for cell in cells if cell.test is not None]
        for (cell, test), p in zip(tested, holm([test.p for _, test in tested])):
            cell.p = p
            pairs.add(test.pairs)
    if pairs:
        counts = str(min(pairs)) if len(pairs) == 1 else f"{min(pairs)} to {max(pairs)}"
        table.notes.append(
            f"* p < 0.05, ** p < 0.01: two-sided paired t-test against {table.baseline!r} over the {counts} seeds that "
            "both have, p corrected by Holm for the rows of the column. Few seeds find only large differences: no mark "
            "is no proof of equality."
        )


def note_single_pretrainings(table: Table) -> None:
    """Say which rows' standard deviations come from the transfer alone: one checkpoint served all seeds."""
    single = []
    for row in table.rows:
        checkpoints = {pretraining_run(run.record) for cell in row.cells.values() for run in cell.runs}
        over_seeds = any(cell.std is not None for cell in row.cells.values())
        if over_seeds and len(checkpoints) == 1 and None not in checkpoints:
            single.append(row.label)
    if single:
        table.notes.append(
            f"One pretraining run each: {', '.join(single)}. Their standard deviations are those of the transfer alone."
        )


def paired_test(first: Mapping[Any, float], second: Mapping[Any, float]) -> PairedTest | None:
    """Test the differences `first - second` of the seeds that both have.

    Args:
        first, second: seed -> score.

    Returns:
        None with less than two such seeds, or when both are equal in all of them: nothing varies that could be tested.
    """
    seeds = sorted(first.keys() & second.keys(), key=str)
    if len(seeds) < 2:
        return None
    from scipy import stats  # a second, which a table of single seeds does without

    differences = [first[seed] - second[seed] for seed in seeds]
    mean = statistics.fmean(differences)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of differences that hardly vary
        found = stats.ttest_1samp(differences, 0.0)
        interval = found.confidence_interval(0.95)
    if statistics.stdev(differences) == 0 or not math.isfinite(found.statistic):
        return None if mean == 0 else PairedTest(len(seeds), mean, 0.0, mean, mean)
    return PairedTest(len(seeds), mean, float(found.pvalue), float(interval.low), float(interval.high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: the family-wise error rate stays below the level."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def mark(p: float | None) -> str:
    """Return `**` below 0.01, `*` below 0.05, else nothing."""
    return "" if p is None or p >= 0.05 else "**" if p < 0.01 else "*"
