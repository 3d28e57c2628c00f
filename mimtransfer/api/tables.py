"""table: the records of runs as text or as a DataFrame."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from mimtransfer.errors import UserError
from mimtransfer.results.record import Run, read_runs, upgrade, validate
from mimtransfer.results.render import FORMATS, frame
from mimtransfer.results.table import build_table

if TYPE_CHECKING:
    import pandas as pd

Records = str | os.PathLike | Mapping[str, Any] | Iterable[str | os.PathLike | Mapping[str, Any]]


@overload
def table(records: Records, format: Literal["md", "csv", "latex", "paper", "json"] = "md", *,
          metrics: Sequence[str] | None = None, baseline: str | None = None, across_backbones: bool = False,
          digits: int = 1) -> str: ...
@overload
def table(records: Records, format: Literal["frame"], *, metrics: Sequence[str] | None = None,
          baseline: str | None = None, across_backbones: bool = False, digits: int = 1) -> pd.DataFrame: ...
def table(records: Records, format: str = "md", *, metrics: Sequence[str] | None = None, baseline: str | None = None,
          across_backbones: bool = False, digits: int = 1) -> str | pd.DataFrame:
    """Join records into the transfer table, as tools/table.py does: a row for each pretraining.

    Args:
        records: work dirs, files, or records as `pretrain` and `transfer` return them; one or several.
        format: `md`, `csv`, `latex` or `json` for text, `paper` for LaTeX with columns grouped by task, `frame` for a
            pandas DataFrame with full precision.
        metrics: columns, by their names in the records; by default the main ones (`top1`, `box_ap`, `miou` ...).
        baseline: label of the row that differences are taken to; by default random init.
        across_backbones: runs that differ in the settings of the backbone share a column.
        digits: behind the point, of md, latex and paper.

    Raises:
        UserError: no records, or such that cannot share a column.
    """
    if format != "frame" and format not in FORMATS:
        raise UserError(f"format {format!r}: expected one of {', '.join([*FORMATS, 'frame'])}")
    given = [records] if isinstance(records, str | os.PathLike | Mapping) else list(records)
    runs: list[Run] = []
    for number, one in enumerate(given):
        if isinstance(one, Mapping):
            record = dict(one)
            upgrade(record)
            validate(record, f"record {number}")
            runs.append(Run(f"record {number} ({record['run_id']})", record))
        else:
            runs += read_runs([Path(one)])
    joined = build_table(runs, metrics, baseline, across_backbones)
    if format == "frame":
        return frame(joined).set_index("pretraining").infer_objects()
    return FORMATS[format](joined, digits)
