"""A folder that appears whole or not at all, and its way to the Hugging Face Hub."""
from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError
from mimtransfer.files import write_atomically


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """Yield a folder to write into; it gets its name when all is written, and is removed when something fails.

    Folders above are made, as for a work dir.

    Raises:
        UserError: the name is taken, or a folder above cannot be made.
    """
    out = Path(os.path.abspath(out))
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    if os.path.lexists(out):
        raise UserError(f"{str(out)!r} exists and is no empty folder: remove it, or give another name")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {str(out)!r}: the folder {str(out.parent)!r} cannot be made ({error.strerror}); "
                        "give another name") from None
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        yield part
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(value: Any, path: Path) -> None:
    """Write JSON as Hugging Face does, two spaces deep."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def need(package: str, purpose: str) -> Any:
    """Import a package of the extra `export`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UserError(f"{purpose} needs {package}, which is not installed: pip install 'mimtransfer[export]', or "
                        f"pip install {package}") from error


def push(folder: str | Path, repo: str) -> str:
    """Upload a folder to a repository of the Hub, which is made, private, where there is none.

    Returns:
        Its address.

    Raises:
        UserError: the Hub refuses, e.g. for want of a login.
    """
    hub = need("huggingface_hub", "--push")
    try:
        api = hub.HfApi()
        api.create_repo(repo_id=repo, private=True, exist_ok=True)
        info = api.upload_folder(repo_id=repo, folder_path=str(folder))
    except (OSError, ValueError) as error:  # the Hub's and the connection's errors are among these
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{str(folder)!r} is written, but the Hub did not take it for {repo!r} ({line}): log in by "
                        f"`hf auth login`, then `hf upload {repo} {folder}`") from error
    return str(getattr(info, "repo_url", None) or f"https://huggingface.co/{repo}")
