"""pretrain and transfer: run a tool in a process of its own, and return what it made.

A process, as suites do it, and no call of the tool's main(): mmengine keeps loggers, scopes and visualizers for the
whole process, torch reads its settings for threads once, a run ends by an exit status, catches signals, and leaves its
memory to the next. A notebook runs many, and its kernel has threads and signals of its own.
"""
from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mimtransfer.cli.options import option_texts
from mimtransfer.errors import UserError, near_files
from mimtransfer.own_data.converted import name_of_run
from mimtransfer.results.record import FILE_NAME, read_record, read_runs
from mimtransfer.shipped.configs import find_config, locate
from mimtransfer.shipped.places import shipped
from mimtransfer.suites.local import end_processes

# What of a log is shown: each epoch, each score, and the box at the end.
_SHOWN = re.compile(r"(?:\S+ \S+ - mmengine - [A-Z]+ - )?((?:Done: |(?:Epoch|Iter)\((?:val|test)\)|result written|"
                    r"(?:[0-9:]+ )?\[\w|\+-- |\+-{60}|\| (?:score|cost|checkpoint|log|curves) ).*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # a notebook's kernel asks for it
_OF_A_SUITE = {"pretrainings", "tasks"}  # variables that a suite file has, and a config has not


class Pretrained(NamedTuple):
    """What a pretraining has made."""

    checkpoint: Path
    record: dict[str, Any]  # result.json, docs/results-format.md


def pretrain(config: str | os.PathLike, work_dir: str | os.PathLike, *, data: str | os.PathLike | None = None,
             quick: bool = False, image_size: int | None = None, batch: int | None = None, epochs: int | None = None,
             options: Mapping[str, Any] | None = None, seed: int | None = None, resume: bool = False, amp: bool = False,
             compile: bool = False, log: Sequence[str] = (), show: bool = True) -> Pretrained:
    """Pretrain an encoder, as `tools/pretrain.py CONFIG --work-dir WORK_DIR` does.

    Args:
        config: config file of a pretraining, or the short name of one that is shipped.
        work_dir: for checkpoints, logs and the record.
        data: folder of images, in place of the config's (docs/own-data.md).
        quick: a look-see of minutes on a CPU.
        image_size, batch, epochs: side in pixels, images in an iteration, length; what depends on them follows.
        options: keys of the config and their values, e.g. `{"train_cfg.max_epochs": 10}`.
        seed: of the run; by default the config's.
        resume: go on from the newest checkpoint in the work dir, where there is one.
        amp, compile: bfloat16; torch.compile.
        log: of `wandb`, `mlflow`, `tensorboard`.
        show: print a line for each epoch and the summary at the end.

    Raises:
        UserError: the line that the tool ends with.
        RuntimeError: the tool has failed otherwise; the message has its last lines.
    """
    words = _own(data, quick, image_size, batch, epochs)
    words += _words(options, seed, amp, compile, log) + ["--resume"] * resume
    run_tool("pretrain", [os.fspath(config), "--work-dir", os.fspath(work_dir), *words], show)
    record = read_record(Path(work_dir, FILE_NAME))
    return Pretrained(Path(work_dir, record["files"]["checkpoint"]["path"]), record)


def transfer(config: str | os.PathLike, checkpoint: str | os.PathLike | None = None,
             work_dir: str | os.PathLike | None = None, *, data: str | os.PathLike | None = None,
             quick: bool = False, image_size: int | None = None, batch: int | None = None, epochs: int | None = None,
             options: Mapping[str, Any] | None = None, seed: int | None = None, resume: bool = False, amp: bool = False,
             compile: bool = False, log: Sequence[str] = (),
             show: bool = True) -> dict[str, Any] | list[dict[str, Any]]:
    """Train a detector, segmentor or classifier on a pretrained backbone and score it, or run a whole suite.

    A config runs tools/train.py, one that trains nothing (k-NN) tools/test.py. A suite file (docs/suites.md) runs
    tools/transfer.py: what is missing of its jobs.

    Args:
        config: config file of a transfer, or suite file; or the short name of one that is shipped.
        checkpoint: of a pretraining, or its work dir; None: random weights. A suite names its own.
        work_dir: for checkpoints, logs and the record; by default that of the tool.
        data: COCO, Pascal VOC, YOLO, images with masks or class folders, in place of the config's (docs/own-data.md).
        quick, image_size, batch, epochs: as of `pretrain`, for trainings.
        options, seed, resume, amp, compile, log, show: as of `pretrain`; of these a suite takes `seed` and `show`.

    Returns:
        The record of a config's run; of a suite the records of all that is done, pretrainings first.

    Raises:
        UserError: the line that the tool ends with; an option that a suite, or a config without training, has no use
            for.
        RuntimeError: the tool has failed otherwise; the message has its last lines.
    """
    config = locate(config, suites=True) or find_config(config)
    if is_suite(config):
        other = dict(checkpoint=checkpoint, data=data, quick=quick, image_size=image_size, batch=batch, epochs=epochs,
                     options=options, resume=resume, amp=amp, compile=compile, log=log)
        if odd := [name for name, value in other.items() if value]:
            raise UserError(f"{config} is a suite, which says its {odd[0]} itself; write it there, or give a config")
        words = [] if seed is None else ["--seeds", str(seed)]
        words += [] if work_dir is None else ["--work-dir", os.fspath(work_dir)]
        run_tool("transfer", [config, *words], show)
        from mimtransfer.suites.suite import load_suite

        suite = load_suite(config, None if seed is None else [seed], None if work_dir is None else os.fspath(work_dir))
        folders = [suite.folder(job.name) for job in suite.jobs.values() if job.kind in ("pretrain", "transfer")]
        return [run.record for run in read_runs(folder for folder in folders if Path(folder, FILE_NAME).exists())]
    from mimtransfer.openmmlab.config_bases import read_config  # mmengine takes 2 s

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)  # of mmengine
        cfg = read_config(config)
    trains = cfg.get("train_cfg") is not None
    if not trains and (quick or any(value is not None for value in (image_size, batch, epochs))):
        raise UserError(f"{config} trains nothing: leave quick, image_size, batch and epochs out")
    name = name_of_run(config, None if data is None else os.fspath(data), quick)
    folder = Path(work_dir or cfg.get("work_dir") or Path("work_dirs", name))
    words = [config, "--work-dir", str(folder), *_own(data, quick, image_size, batch, epochs)]
    words += _words(options, seed, amp, compile and trains, log)
    words += ["--resume"] * (resume and trains)
    words += [] if checkpoint is None else ["--pretrained", os.fspath(checkpoint)]
    before = _records(folder)
    run_tool("train" if trains else "test", words, show)
    # A test lies beside its log where the work dir holds the record of another protocol.
    written = {path: when for path, when in _records(folder).items() if before.get(path) != when}
    return read_record(max(written, key=written.__getitem__) if written else folder / FILE_NAME)


def _records(folder: Path) -> dict[Path, int]:
    """Return when each record in a work dir was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob(FILE_NAME)}


def is_suite(path: str) -> bool:
    """Tell a suite file from a config by the variables that it sets; nothing in it is run.

    Raises:
        UserError: there is no such file, or it is no Python.
    """
    try:
        statements = ast.parse(Path(path).read_text(encoding="utf-8")).body
    except FileNotFoundError:
        raise UserError(f"config {path!r} does not exist{near_files(path)}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"config {path!r} cannot be read: {' '.join(str(error).split())}") from None
    targets = [target for line in statements if isinstance(line, ast.Assign) for target in line.targets]
    return any(isinstance(target, ast.Name) and target.id in _OF_A_SUITE for target in targets)


def run_tool(name: str, arguments: Sequence[str], show: bool = True) -> None:
    """Run tools/NAME.py with this Python and end it when this process is interrupted.

    Args:
        show: print the lines of its log that `_SHOWN` lets through, as they come.

    Raises:
        UserError: the line that the tool ends with.
        RuntimeError: it has failed otherwise; the message has its last lines.
    """
    environment = {**os.environ, "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, str(shipped("tools") / f"{name}.py"), *arguments], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        last = _pass_on(process.stdout, show)
        status = process.wait()
    finally:
        if process.poll() is None:
            end_processes([process])
        process.stdout.close()
    if status:
        if last and last[-1].startswith("error: "):
            raise UserError(last[-1].removeprefix("error: "))
        raise RuntimeError(f"tools/{name}.py ended with status {status}; its last lines:\n" + "\n".join(last))


def _pass_on(lines: Iterable[str], show: bool) -> list[str]:
    """Print what is worth it; return the last lines, without empty ones."""
    last: deque[str] = deque(maxlen=30)
    for line in lines:
        line = _COLOUR.sub("", line).rstrip()
        if line:
            last.append(line)
        if show and (found := _SHOWN.fullmatch(line)):
            print(found.group(1), flush=True)
    return list(last)


def _own(data: str | os.PathLike | None, quick: bool, *numbers: int | None) -> list[str]:
    """Word `data`, `quick`, and the numbers `image_size`, `batch` and `epochs`."""
    words = ([] if data is None else ["--data", os.fspath(data)]) + ["--quick"] * quick
    names = ("--image-size", "--batch", "--epochs")
    return words + [word for name, value in zip(names, numbers) if value is not None for word in (name, str(value))]


def _words(options: Mapping[str, Any] | None, seed: int | None, amp: bool, compile: bool,
           log: Sequence[str]) -> list[str]:
    words = [] if seed is None else ["--seed", str(seed)]
    words += ["--amp"] * amp + ["--compile"] * compile
    words += [word for name in ([log] if isinstance(log, str) else log) for word in ("--log", name)]
    return words + (["--cfg-options", *option_texts(options)] if options else [])
