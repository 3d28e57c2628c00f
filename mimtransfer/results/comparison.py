"""Compare the rows of a table with its baseline: differences, and which of them seeds alone would hardly make."""
from mimtransfer.errors import UserError, near_matches
from mimtransfer.results.cells import Table
from mimtransfer.results.naming import RANDOM_INIT
from mimtransfer.results.pretrainings import pretraining_run
from mimtransfer.results.significance import holm, paired_test


def compare(table: Table, baseline: str | None) -> None:
    """Fill the differences and tests of all cells, and say below the table how they are meant.

    Args:
        baseline: label of a row; None: random init, where there is such a row.

    Raises:
        UserError: no row has the label.
    """
    labels = [row.label for row in table.rows]
    if baseline is None and RANDOM_INIT not in labels:
        return
    table.baseline = baseline or RANDOM_INIT
    if table.baseline not in labels:
        hint = near_matches(table.baseline, labels) or f"rows are {', '.join(map(repr, labels))}"
        raise UserError(f"--baseline: no row is labelled {table.baseline!r}; {hint}")
    base = table.rows[labels.index(table.baseline)]
    pairs = set()
    for column in table.columns:
        if column not in base.cells:
            continue
        cells = [row.cells[column] for row in table.rows if row is not base and column in row.cells]
        for cell in cells:
            cell.difference = cell.mean - base.cells[column].mean
            cell.test = paired_test(cell.by_seed, base.cells[column].by_seed)
        tested = [cell for cell in cells if cell.test is not None]
        for cell, p in zip(tested, holm([cell.test.p for cell in tested])):
            cell.p = p
        pairs |= {cell.test.pairs for cell in tested}
    if pairs:
        counts = str(min(pairs)) if len(pairs) == 1 else f"{min(pairs)} to {max(pairs)}"
        table.notes.append(
            f"* p < 0.05, ** p < 0.01: two-sided paired t-test against {table.baseline!r} over the {counts} seeds that "
            "both have, p corrected by Holm for the rows of the column. Few seeds find only large differences: no mark "
            "is no proof of equality."
        )


def note_single_pretrainings(table: Table) -> None:
    """Say which rows' deviations come from the transfer alone, because one checkpoint served all seeds."""
    single = [
        row.label
        for row in table.rows
        for runs in [[run for cell in row.cells.values() for run in cell.runs]]
        if any(cell.std is not None for cell in row.cells.values())
        and len({pretraining_run(run.record) for run in runs}) == 1
        and pretraining_run(runs[0].record) is not None
    ]
    if single:
        table.notes.append(
            f"One pretraining run each: {', '.join(single)}. Their deviations are those of the transfer alone."
        )
