"""The config that the options of own data make, `WORK_DIR/own_CONFIG.py`: never beside a run of another one.

A checkpoint is tested with the config in its work dir, so neither that config nor the data that it names may become
those of another run, also not of one that is refused in the end.
"""
from __future__ import annotations

import os.path as osp
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically
from mimtransfer.own_data.converted import MANIFEST, source_of
from mimtransfer.results.record import FILE_NAME

_FIX = "give another --work-dir, or remove this one"


def check_place(path: str, source: str | None) -> None:
    """Refuse a work dir that holds a run of another recipe or on other data, before data are converted into it.

    Args:
        path: of the config that will be written.
        source: the user's data; None: the config's own.

    Raises:
        UserError: it holds such a run.
    """
    work_dir = osp.dirname(path)
    if not _holds_run(work_dir):
        return
    if not osp.isfile(path):
        raise UserError(f"{work_dir}: holds a run of another config, without {osp.basename(path)}; {_FIX}")
    data = osp.join(work_dir, "data")
    if source is None or not osp.isfile(osp.join(data, MANIFEST)):
        return
    trained = source_of(data)
    if osp.realpath(trained) != osp.realpath(source):
        raise UserError(f"{work_dir}: holds a run on {trained!r}, not on {osp.abspath(source)!r}; {_FIX}")


def check_same(path: str, text: str) -> None:
    """Refuse a config that differs from that of the run in its work dir.

    Raises:
        UserError: it does.
    """
    if _holds_run(osp.dirname(path)) and not _is_there(path, text):
        raise UserError(f"{osp.dirname(path)}: holds a run of another config, {osp.basename(path)} there is not that "
                        f"of this run; {_FIX}")


def write_config(path: str, text: str) -> None:
    """Write a config; of a run that goes on with other options the earlier one stays beside it, dated."""
    work_dir, file = osp.split(path)
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    if _holds_run(work_dir) and osp.isfile(path) and not _is_there(path, text):
        shutil.copy2(path, osp.join(work_dir, f"old_{datetime.now():%Y%m%d_%H%M%S}_{file}"))
    write_atomically(path, text)


def _holds_run(work_dir: str) -> bool:
    """Say whether a training or a test was here; a checkpoint that someone has put there has another name."""
    found = Path(work_dir)
    return any((found / name).is_file() for name in (FILE_NAME, "last_checkpoint")) or any(
        any(found.glob(name)) for name in ("epoch_*.pth", "iter_*.pth"))


def _is_there(path: str, text: str) -> bool:
    """Say whether a file holds this config; how its work dir was written makes no difference."""
    if not osp.isfile(path):
        return False
    written = Path(path).read_text(encoding="utf-8", errors="replace")
    values = _values(written)
    return written == text or (values is not None and values == _values(text))


def _values(text: str) -> dict[str, Any] | None:
    """Return the values of a config; None where it is one that someone wrote."""
    try:
        return {key: value for key, value in read_values(text).items() if key != "work_dir"}
    except (TypeError, ValueError, SyntaxError, RecursionError):
        return None
