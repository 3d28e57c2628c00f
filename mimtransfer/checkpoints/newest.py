"""Find the newest checkpoint of a work dir that is whole: what a run goes on from, and what is tested or loaded."""
from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.interruption import POINTER


def newest_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """Return the newest whole checkpoint of a work dir, or None.

    `last_checkpoint` is a hint only: it may be empty, name a file that is gone, or the place from which the work dir
    was moved. Checkpoints are ordered by the time and the iteration written in them, so copying changes nothing.
    """
    return next((path for path, _, _ in _newest_first(Path(work_dir))), None)


def newest_or_why(work_dir: str | os.PathLike) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint, and a line about each newer file that is not whole."""
    reasons: list[str] = []
    return next((path for path, _, _ in _newest_first(Path(work_dir), reasons)), None), reasons


def why_not_whole(path: str | os.PathLike) -> str | None:
    """Say in a few words why a file is no checkpoint to go on from, or None.

    Reads the whole file: a zip archive has a checksum for each tensor.
    """
    try:
        weights = read_checkpoint(path).get("state_dict")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return "its content is damaged"
    except UserError as error:
        return str(error)
    except (zipfile.BadZipFile, NotImplementedError, EOFError):
        return "its content is damaged"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    if not isinstance(weights, dict):
        return "it holds no weights"
    floats = [value for value in weights.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    # A buffer may hold infinity on purpose, as a mask; NaN is never meant.
    if any(bool(torch.isnan(value).any()) for value in floats):
        return "its weights are not finite"
    return None


def _newest_first(folder: Path, reasons: list[str] | None = None) -> Iterator[tuple[Path, Any, Any]]:
    found = []
    for path in _candidates(folder):
        try:
            meta = read_checkpoint(path).get("meta")
        except UserError as error:
            if reasons is not None:
                reasons.append(str(error))
            continue
        found.append((path, *_age(path, meta if isinstance(meta, dict) else {})))
    for path, time, iteration in sorted(found, key=lambda entry: entry[1:], reverse=True):
        reason = why_not_whole(path)
        if reason is None:
            yield path, time, iteration
        elif reasons is not None:
            reasons.append(f"checkpoint {str(path)!r}: {reason}")


def _candidates(folder: Path) -> list[Path]:
    """List what training writes: the file that is pointed at, whatever its name, and all named by epoch or iteration.
    """
    names = {*folder.glob("epoch_*.pth"), *folder.glob("iter_*.pth")}
    pointer = folder / POINTER
    try:
        # Only the name: the work dir may have been moved since.
        name = Path(pointer.read_text(encoding="utf-8", errors="replace").strip().replace("\0", "")).name
    except OSError:
        name = ""
    if name and (folder / name).is_file():
        names.add(folder / name)
    return sorted(path for path in names if path.is_file())


def _age(path: Path, meta: dict) -> tuple[float, int]:
    """Return when a checkpoint was written, in seconds, and after how many iterations."""
    try:
        time = datetime.strptime(str(meta.get("time")), "%Y%m%d_%H%M%S").timestamp()
    except (ValueError, OverflowError):
        time = path.stat().st_mtime
    iteration = meta.get("iter")
    return time, iteration if isinstance(iteration, int) else 0
