"""Which files a source names: a path, a pattern, numbered shards, a URL. Light, for tools that only look at configs."""
import os
from glob import glob

from mimtransfer.errors import UserError, near_files

KINDS = "a folder of images, tar shards or parquet files, a data set of Hugging Face, .tar, .zip, .parquet, or .txt"


def local_files(source: object) -> list[str]:
    """Return what a source names on this machine, as far as it is there: files, or one folder."""
    if not isinstance(source, str) or "://" in source:
        return []
    try:
        return files_of(os.path.expanduser(source))
    except UserError:
        return []


def files_of(source: str) -> list[str]:
    """Return the files, or the one folder, that a source names; a URL is fetched.

    Raises:
        UserError: there is none, or it cannot be fetched.
    """
    if "://" in source:
        from mimtransfer.datasets.sources.remote import fetch

        return [path for part in _braces(source) for path in fetch(part)]
    if os.path.exists(source):
        return [source]
    found = sorted(path for pattern in _braces(source) for path in glob(pattern))
    if not found:
        raise UserError(f"source {source!r} does not exist{near_files(source)}; expected {KINDS}")
    return found


def _braces(pattern: str) -> list[str]:
    """Expand `{000..146}` as WebDataset writes it."""
    before, opened, rest = pattern.partition("{")
    inside, closed, after = rest.partition("}")
    first, dots, last = inside.partition("..")
    if not (opened and closed and dots and first.isdigit() and last.isdigit()) or int(last) - int(first) > 10**6:
        return [pattern]
    return [f"{before}{number:0{len(first)}d}{tail}" for number in range(int(first), int(last) + 1)
            for tail in _braces(after)]
