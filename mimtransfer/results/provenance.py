"""Where a result came from: code, versions, machine, data, and the files of the run, each with what it contained.

Nothing here imports a library that the run has not imported itself.
"""
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimtransfer.datasets.sources.locate import local_files
from mimtransfer.datasets.tree import walk
from mimtransfer.files import sha256_file
from mimtransfer.results.description import short_name, training_loader

if TYPE_CHECKING:
    from mmengine.logging import MessageHub
    from mmengine.runner import Runner

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "mmengine", "mmcv", "mmdet", "mmseg")
MEASURING = "map_bank/seconds"  # what a pass that measures maps took, in mmengine's message hub; kept in checkpoints
EVALUATING = "online/seconds"  # likewise, what an evaluation while pretraining took
_FILE_KEYS = ("ann_file", "list_file", "proposal_file")


def git_state(folder: str | Path | None = None) -> dict[str, Any] | None:
    """Return `{"commit": 40 hex digits, "dirty": tracked files differ from it}` of the code, or None when it is not in
    git.

    Args:
        folder: any folder of the checkout; this package's own by default.
    """
    folder = Path(__file__).parent if folder is None else Path(folder)

    def git(*arguments: str) -> str | None:
        try:
            # Without the lock this never disturbs a commit that somebody makes at the same time.
            command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An environment may lie inside somebody else's checkout: files in it are not tracked there.
    if not git("ls-files", "."):
        return None
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": git("status", "--porcelain", "--untracked-files=no") != ""}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries imported so far; `mmcv._ext` says whose operators are used."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    if "mmcv._ext" in sys.modules:
        compiled = str(getattr(sys.modules["mmcv._ext"], "__file__", "")).endswith((".so", ".pyd"))
        found["mmcv._ext"] = "compiled" if compiled else "stand-in"
    return found


def command_line() -> str:
    """Return the command that started this process, quoted for a shell."""
    program, *arguments = sys.argv
    if program.startswith("mimtransfer "):  # the console command, mimtransfer/cli/command.py
        return shlex.join([*program.split(), *arguments])
    return shlex.join([Path(sys.executable).name, program, *arguments])


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def device() -> dict[str, str]:
    """Return `device`, the name of the accelerator in use, else of the CPU, and `device_type`, `cuda` or `cpu`."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return {"device": torch.cuda.get_device_name(), "device_type": "cuda"}
    return {"device": _cpu_name(), "device_type": "cpu"}


def reading(loop: Any) -> dict[str, str | None] | None:
    """Return how the images of a loop are read: `source`, what holds them, and `decoder`, the one in force.

    None of data sets of mmdet and mmseg, whose pipeline says it in the config.
    """
    return _said_by(loop, "reading")


def unreadable(loop: Any) -> list[str]:
    """Return the names of the images that a pretraining went on from, of this process; empty for other data sets."""
    return _said_by(loop, "unreadable") or []


def measuring(message_hub: "MessageHub", wall_s: float | None) -> dict[str, Any]:
    """Return what measuring maps and evaluating have cost a pretraining with the processes that it continues.

    Args:
        wall_s: seconds of the whole run; None: not known.

    Returns:
        `{"measuring": {"passes": number, "seconds": in sum, "share": of wall_s or None}}`, and likewise
        `online_evaluation`; without what was not done.
    """
    found = {}
    for name, key in (("measuring", MEASURING), ("online_evaluation", EVALUATING)):
        if (history := message_hub.log_scalars.get(key)) is not None:
            seconds = history.data[0].tolist()
            share = round(sum(seconds) / wall_s, 4) if wall_s else None
            found[name] = {"passes": len(seconds), "seconds": round(sum(seconds), 3), "share": share}
    return found


def data_digests(cfg: Mapping, evaluated: str = "val") -> dict[str, str]:
    """Return a digest of the annotations that a config trains and evaluates on, so that equal configs on different data
    are told apart.

    Annotation files are digested by content. Index maps, which have none, by the sorted listing of their folder
    (relative names and sizes): 22,000 files of ADE20K take well under a second. Class folders by the relative names
    alone: the sizes of ImageNet's 1.3 M files take minutes on a network drive.

    Returns:
        `{"train": sha256, "eval": sha256}`; a part is absent when none of its files is found.
    """
    cfg = cfg.to_dict() if hasattr(cfg, "to_dict") else cfg
    found = {}
    for name, loader in (("train", training_loader(cfg)), ("eval", cfg.get(f"{evaluated}_dataloader"))):
        parts = [part for dataset in _datasets(loader or {}) for part in _annotation_digests(dataset)]
        if parts:
            found[name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return found


def run_files(runner: "Runner", tested: str | None = None) -> dict[str, Any]:
    """Return the field `files` of a record.

    Args:
        tested: checkpoint that a test has loaded; the newest of the work dir otherwise.

    Returns:
        `checkpoint` and `config` with `path` and `sha256`, and the path `log`; each None when there is no such file.
        Paths are relative to the work dir where they lie in it, so that it can be moved.
    """
    work_dir = Path(runner.work_dir)
    from mimtransfer.checkpoints.newest import newest_checkpoint  # torch, which a table does not need

    checkpoint = Path(tested) if tested is not None else newest_checkpoint(work_dir)
    # Of this process alone; the one in the work dir is written again by every training.
    config = Path(runner.log_dir, "vis_data", "config.py")
    log = Path(runner.log_dir, f"{runner.timestamp}.log")

    def relative(path: Path) -> str:
        path, home = path.resolve(), work_dir.resolve()
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)

    def digested(path: Path | None) -> dict[str, str] | None:
        return {"path": relative(path), "sha256": sha256_file(path)} if path is not None and path.is_file() else None

    found = {"checkpoint": digested(checkpoint), "config": digested(config)}
    return {**found, "log": relative(log) if log.is_file() else None}


def _said_by(loop: Any, attribute: str) -> Any:
    dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)
    while dataset is not None and not hasattr(dataset, attribute):
        dataset = getattr(dataset, "dataset", None)  # a wrapper, as a subset or corrupted images
    return getattr(dataset, attribute, None)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _datasets(value: Any) -> Iterator[Mapping]:
    """Find the innermost datasets of a loader: `RepeatDataset(dataset=...)`, `ConcatDataset(datasets=[...])`."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _datasets(item)
    elif isinstance(value, Mapping):
        inner = [value[key] for key in ("dataset", "datasets") if key in value]
        if inner:
            yield from _datasets(inner)
        else:
            yield value


def _annotation_digests(dataset: Mapping) -> Iterator[str]:
    root = str(dataset.get("data_root") or "")
    for key in _FILE_KEYS:
        path = Path(root, str(dataset.get(key) or ""))
        if dataset.get(key) and path.is_file():
            yield f"{key} {sha256_file(path)}"
    prefix = dataset.get("data_prefix")
    if isinstance(prefix, Mapping) and (prefix.get("seg_map_path") or prefix.get("depth_map_path")):
        for key in sorted(prefix):
            folder = Path(root, str(prefix[key] or ""))
            if prefix[key] and folder.is_dir():
                yield f"{key} {_listing_digest(folder)}"
    folder = Path(str(dataset.get("root") or "")).expanduser()
    if short_name(dataset.get("type")) in ("ClassFolder", "TinyImageNet") and folder.is_dir():
        yield f"classes {_listing_digest(folder, sizes=False)}"
    if short_name(dataset.get("type")) == "LabelledImageSource":
        for path in map(Path, local_files(dataset.get("source"))):
            yield f"source {_listing_digest(path) if path.is_dir() else f'{path.name} {path.stat().st_size}'}"


def _listing_digest(folder: Path, sizes: bool = True) -> str:
    """Digest what is read below a folder: links are followed, hidden files left out."""
    files = [(os.fsdecode(path), path) for path in walk(folder).files]
    top = os.fsencode(folder)
    lines = [name + (f" {os.stat(os.path.join(top, path)).st_size}" if sizes else "") for name, path in files]
    return hashlib.sha256(b"\n".join(sorted(os.fsencode(line) for line in lines))).hexdigest()
