"""Files of a source that lie elsewhere: fetched into a cache once, and again when they have changed there.

https by the standard library, everything else by fsspec. Not fsspec's own `filecache`: it keeps two files of one name
as one, writes them in place, where another process already reads, and sees a change only by asking for each file.
"""
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import urlopen

from mmengine.logging import print_log

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically

_TIMEOUT = 30  # seconds without a byte
_VERSION = ("ETag", "Last-Modified", "Content-Length")


class _Remote(NamedTuple):
    """A file as it is there now."""

    version: str  # another one when the file has changed
    size: int | None  # bytes, where the server says so
    download: Callable[[str], None]  # to a path


def fetch(url: str) -> list[str]:
    """Return local copies of the files that a URL names. A copy is used as it is where its server does not answer.

    Raises:
        UserError: there is no such file, no way to it and no copy, or a package for this kind of URL is missing.
    """
    try:
        return [str(_copy(each)) for each in _expand(url)]
    except ImportError as error:  # each protocol of fsspec has its own package
        raise UserError(f"source {url!r}: {_line(error)}") from error
    except Exception as error:  # what a file system of fsspec raises is its own affair
        raise UserError(f"source {url!r} cannot be fetched ({_line(error)}): copy it to this machine and name its "
                        "path") from error


def cache_folder() -> Path:
    """Return where copies are kept: `$XDG_CACHE_HOME/mimtransfer`, or below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mimtransfer")


def _expand(url: str) -> Iterator[str]:
    if url.startswith(("http://", "https://")) or not any(sign in url for sign in "*?["):
        yield url
        return
    import fsspec

    system, path = fsspec.url_to_fs(url)
    found = sorted(map(str, system.glob(path)))
    if not found:
        raise FileNotFoundError("no such file")
    yield from map(system.unstrip_protocol, found)


def _copy(url: str) -> Path:
    """Fetch a file unless its copy is the same, and return the copy."""
    from filelock import FileLock  # torch needs it, too

    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    where = f"{parts.netloc}{folder}".strip("/")  # memory://a is memory:///a
    place = f"{parts.scheme}://{where}?{parts.query}"  # two files of one name are two copies
    copy = cache_folder() / hashlib.sha256(place.encode()).hexdigest()[:16] / (name or parts.netloc)
    version = copy.with_name(f".{copy.name}.version")
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(copy.with_name(f".{copy.name}.lock")):  # the ranks of a machine start together: one fetches
        known = version.read_text() if copy.is_file() and version.is_file() else None
        try:
            remote = _look(url)
        except Exception as error:  # as above
            if known is None:
                raise
            _log(f"{url} cannot be asked for changes ({_line(error)}): taken as it was fetched, {copy}")
            return copy
        if known == remote.version:
            return copy
        changed = "" if known is None else ", which has changed since it was fetched,"
        _log(f"fetching {url}{changed} to {copy}", logging.INFO if known is None else logging.WARNING)
        part = copy.with_name(f".{copy.name}.part")
        try:
            remote.download(str(part))
            size = part.stat().st_size
            if remote.size not in (None, size):
                raise OSError(f"only {size} of {remote.size} bytes came")
            version.unlink(missing_ok=True)  # so that after a crash here it is fetched again
            os.replace(part, copy)
        finally:
            part.unlink(missing_ok=True)
        write_atomically(version, remote.version)
    return copy


def _look(url: str) -> _Remote:
    if url.startswith(("http://", "https://")):
        # Not HEAD, which signed addresses refuse. What is not read is not sent.
        with urlopen(url, timeout=_TIMEOUT) as answer:
            version = {key: answer.headers[key] for key in _VERSION}
        size = int(version["Content-Length"]) if version["Content-Length"] else None
        return _Remote(_digest(version), size, partial(_download, url))
    import fsspec

    system, path = fsspec.url_to_fs(url)
    system.invalidate_cache()
    info = system.info(path)
    if info["type"] == "directory":
        raise IsADirectoryError("a folder: name its files by a pattern, as FOLDER/*.tar")
    return _Remote(_digest(info), info.get("size"), partial(system.get_file, path))


def _download(url: str, path: str) -> None:
    with urlopen(url, timeout=_TIMEOUT) as answer, open(path, "wb") as file:
        shutil.copyfileobj(answer, file, 2**20)


def _digest(values: dict) -> str:
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _log(line: str, level: int = logging.WARNING) -> None:
    print_log(line, logger="current", level=level)
