"""The command line of a cell."""
from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimtransfer.cli.options import option_texts
from mimtransfer.errors import UserError
from mimtransfer.suites.state import Study
from mimtransfer.suites.suite import Cell


def command(study: Study, cell: Cell) -> list[str]:
    """Return the command that runs a cell, or resumes it, in the folder where the suite was started.

    Raises:
        UserError: the checkpoint of a model that is to be tested is gone.
    """
    if cell.kind == "data":
        words = shlex.split(cell.command)
        return [sys.executable, *words[1:]] if words[0] in ("python", "python3") else words
    tool, folder = study.inputs.tool(cell), study.suite.folder(cell)
    words = [sys.executable, str(Path(study.inputs.root, "tools", f"{tool}.py")), cell.config]
    if cell.gpus > 1:
        several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={cell.gpus}"]
        words = [words[0], *several, *words[1:], "--launcher", "pytorch"]
    if cell.of is not None:
        from mimtransfer.checkpoints.newest import newest_checkpoint  # torch, which a plan does not need

        checkpoint = newest_checkpoint(study.folder(cell.of))
        if checkpoint is None:
            raise UserError(f"{cell.name}: {study.folder(cell.of)} holds no checkpoint to test; remove its "
                            "result.json to train again")
        words.append(str(checkpoint))
    words += ["--work-dir", str(folder)]
    if tool in ("pretrain", "train"):
        words.append("--resume")
    if cell.of is None:  # a trained model's protocol and seed are its own
        words += ["--seed", str(cell.seed)]
    if cell.start is not None:
        words += ["--pretrained", str(study.folder(cell.start)) if cell.start in cell.after else cell.start]
    words += ["--amp"] * cell.amp + ["--compile"] * cell.compile
    if cell.options:
        folders = {f"{{{name}}}": str(study.folder(name)) for name in cell.after}
        filled = {key: _filled(value, folders) for key, value in cell.options.items()}
        words += ["--cfg-options", *option_texts(filled)]
    return words


def _filled(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, folders) for item in value)
    for mark, place in folders.items() if isinstance(value, str) else ():
        value = value.replace(mark, place)
    return value


def cell_command(suite: str, arguments: list[str], cell: Cell, root: Path) -> str:
    """Return the shell command that runs one cell with its book-keeping, for a scheduler of any kind."""
    words = ["python", str(Path(root, "tools", "transfer.py")), suite, *arguments, "--cell", cell.name]
    return shlex.join(words)
