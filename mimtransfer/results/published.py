"""Numbers that papers and repositories print, from a data file, as rows apart from our own.

The file is JSON: `{"rows": [{"label", "source", "url", "remark", "scores": [{"protocol", "metric", "value"}]}]}`. A
score is shown in the column of its protocol's name only; whether the protocols are the same is for the file's author to
know, and `remark` says what differs. docs/results/published.json is such a file.
"""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.results.cells import Column, PublishedRow
from mimtransfer.stored_json import read_object


def read_published(path: str | Path, columns: Sequence[Column]) -> list[PublishedRow]:
    """Read the rows that have a score for any of the columns.

    Raises:
        UserError: the file cannot be read, or a row lacks its label, its source, or a value.
    """
    try:
        rows = read_object(path, {"rows": list}, "give a file as docs/results/published.json is one")["rows"]
    except UserError as error:
        raise UserError(f'--published: expected JSON with a list "rows" ({error})') from error
    found = []
    for number, row in enumerate(rows, start=1):
        _check(row, f"{path}, row {number}")
        scores = {
            column: float(score["value"])
            for column in columns
            for score in row["scores"]
            if (score["protocol"], score["metric"]) == (column.protocol, column.metric)
        }
        if scores:
            found.append(PublishedRow(row["label"], scores, row["source"], row["url"], row.get("remark")))
    return found


def _check(row: Any, where: str) -> None:
    for name in ("label", "source", "url"):
        if not (isinstance(row, dict) and isinstance(row.get(name), str) and row[name]):
            raise UserError(f"{where}: {name!r} is missing; a published number is shown only with its source")
    if not row["url"].startswith(("https://", "http://")):
        raise UserError(f"{where}: 'url' is {row['url']!r}, expected an address that begins with https://")
    for score in row.get("scores") or [None]:
        if not (isinstance(score, dict) and score.keys() >= {"protocol", "metric"}
                and isinstance(score.get("value"), int | float)):
            raise UserError(f"{where}: a score is {score!r}, expected protocol, metric and a number as value")
