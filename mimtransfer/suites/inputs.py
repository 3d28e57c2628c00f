"""What the result of a job is a function of: its resolved config, its data, our code, and what it starts from.

Reading these takes time, so what was read from a config or from data is kept in a cache until the files change.
"""
from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mimtransfer.cli.options import option_texts, read_options
from mimtransfer.datasets.configured import leaves
from mimtransfer.datasets.sources.locate import local_files
from mimtransfer.datasets.tree import walk
from mimtransfer.errors import UserError, near_files
from mimtransfer.files import sha256_file, write_atomically
from mimtransfer.results.fingerprint import differences, protocol_config
from mimtransfer.shipped.places import CODE
from mimtransfer.stored import read_object
from mimtransfer.suites.suite import Job

_PACKAGES = ("mimtransfer", "pretrain")
# They describe, check, time or export a run; `.mim` holds configs and tools of an installed package.
_LEFT_OUT = ("mimtransfer/results/", "mimtransfer/suites/", "mimtransfer/checks/", "mimtransfer/benchmarks/",
             "pretrain/benchmarks/", "mimtransfer/.mim/", "mimtransfer/api/", "mimtransfer/export/")
_FILE_KEYS = ("ann_file", "list_file", "proposal_file", "file_list")
_SAMPLE = 64  # files of a folder whose size and time are looked at
_WHOLE = 1 << 28  # bytes up to which a file is read whole: an archive of ImageNet would take minutes


class Inputs:
    """Inputs of the jobs of one suite.

    Args:
        root: of the checkout whose code runs, or what holds the tools of an installed package.
        cache: what was read before.
    """

    def __init__(self, root: Path, cache: StatCache) -> None:
        self.root, self.cache = root, cache
        self._code = root if (root / "mimtransfer").is_dir() else CODE
        # For this process only. To find a base `mmseg::...` takes mmengine a second.
        self._read = StatCache(os.devnull)
        self._packages: dict[str, str] = {}

    def config(self, job: Job) -> dict[str, Any]:
        """Return a job's config with its bases and options resolved, as plain dictionaries, lists and numbers.

        Raises:
            UserError: there is no such file.
        """
        if not Path(job.config).is_file():
            raise UserError(f"config {job.config!r} does not exist{near_files(job.config)}")
        texts = option_texts(job.options)
        key = f"config {job.config} {' '.join(texts)} on {job.gpus}"
        return self.cache.get(key, lambda: self._resolve(job.config, texts, job.gpus))

    def _resolve(self, path: str, texts: list[str], processes: int) -> tuple[dict[str, Any], list[str]]:
        shipped, files = self._read.get(path, lambda: _read(path))
        from mimtransfer.cli.labels import set_labels
        from mimtransfer.training.rescale import rescale_schedule  # with mmengine, which takes 2 s

        cfg = copy.deepcopy(shipped)
        cfg.merge_from_dict(read_options(texts))
        set_labels(cfg)
        rescale_schedule(cfg, shipped, processes, texts)
        plain = json.dumps(cfg.to_dict(), default=lambda kind: getattr(kind, "__name__", str(kind)))
        return json.loads(plain), files

    def tool(self, job: Job) -> str:
        """Return the name of the tool that runs a job: `train` for tools/train.py."""
        if job.tool is not None:
            return job.tool
        return "test" if job.of is not None or self.config(job).get("train_cfg") is None else "train"

    def protocol(self, job: Job) -> dict[str, Any]:
        """Return what of a job's config decides its score, flat, as its record names it."""
        return protocol_config(self.config(job), self._evaluated(job), job.gpus)

    def of(self, job: Job, made: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """Return what a job's result is a function of.

        Args:
            made: job that this one needs -> what it made.

        Returns:
            `run`, `config` (the protocol, without paths), `data`, `source` and `inputs`, each a flat dictionary.
        """
        config, tool = self.config(job), self.tool(job)
        inputs = {f"{name} {key}": value for name, one in made.items() for key, value in one.items()}
        if job.start is not None and job.start not in made:
            inputs["checkpoint"] = path_digest(job.start, self.cache)
        if tool == "fit_tokenizer":  # a config of its own kind, without model and schedule
            parts = {key: config[key] for key in ("features", "kmeans", "train_dataloader", "view") if key in config}
            flat = {"config": json.dumps(parts, sort_keys=True)}
        else:
            flat = self.protocol(job)
        return {
            "run": {"tool": tool, "seed": job.seed, "amp": job.amp},
            "config": flat,
            "data": data_digests(config, self._evaluated(job), self.cache),
            "source": self._source(tool, config),
            "inputs": inputs,
        }

    def _evaluated(self, job: Job) -> str:
        return "test" if self.tool(job) == "test" else "val"

    def _source(self, tool: str, config: Mapping) -> dict[str, str]:
        """Return the digests of the .py files of our packages, of the tool, and of the config's own modules."""
        if not self._packages:
            files = [path for package in _PACKAGES for path in (self._code / package).rglob("*.py")]
            names = {path: path.relative_to(self._code).as_posix() for path in files}
            self._packages = self._digests({path: name for path, name in names.items()
                                            if not name.startswith(_LEFT_OUT)})
        own = [self.root / "tools" / f"{tool}.py"]
        for module in (config.get("custom_imports") or {}).get("imports") or ():
            place = self.root / module.replace(".", "/")
            if module.split(".")[0] not in _PACKAGES:
                own += [path for path in (place.with_suffix(".py"), *place.rglob("*.py")) if path.is_file()]
        return {**self._packages, **self._digests({path: path.relative_to(self.root).as_posix() for path in own})}

    @staticmethod
    def _digests(names: Mapping[Path, str]) -> dict[str, str]:
        return {name: sha256_file(path)[:16] for path, name in sorted(names.items())}


def digest(parts: Mapping[str, Any]) -> str:
    """Return the fingerprint of a job's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs, e.g. `["config optim_wrapper.optimizer.lr: 0.1 -> 0.2", "code pretrain/masking/amt.py"]`.

    What concerns the code is one text, and begins with `code `.
    """
    said = []
    for part, found in now.items():
        differing = differences(before.get(part) or {}, found)
        if part == "source" and part not in before:
            said.append("code not comparable with that of an earlier version of the suites; --accept-code keeps what "
                        "it made")
        elif part == "source" and differing:
            names = sorted(differing)
            said.append(f"code {', '.join(names[:3])}" + f" and {len(names) - 3} more" * (len(names) > 3))
        elif part == "inputs":
            said += ["the checkpoint's file" if key == "checkpoint" else f"{key.split()[0]} was made again"
                     for key in differing]
        elif part == "data":
            said += [f"data {path}" for path in differing]
        else:
            said += [f"{part} {key}: {old} -> {new}" for key, (old, new) in differing.items()]
    return list(dict.fromkeys(said))


def data_digests(config: Mapping, evaluated: str, cache: StatCache) -> dict[str, str]:
    """Return the digests of what the training and evaluation loaders of a config read.

    Args:
        config: resolved.
        evaluated: `val` or `test`.

    Returns:
        path as in the config -> see `path_digest`.
    """
    loaders = [config.get("train_dataloader"), config.get(f"{evaluated}_dataloader")]
    loaders.append((config.get("test_cfg") or {}).get("memory_dataloader"))
    places = {path for loader in loaders for dataset in leaves((loader or {}).get("dataset") or {})
              for path in _places(dataset)}
    return {path: path_digest(path, cache) for path in sorted(places)}


def path_digest(path: str, cache: StatCache) -> str:
    """Return the digest of a file by content, of a folder by the names and sizes below it; "missing" without either.

    The cached digest of a folder holds while no file was added or removed (the times of all folders below it) and a
    sample of its files keeps size and time; an edit of one image in place, at the same size, is not seen.

    Returns:
        sha256, 16 digits.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return cache.get(f"data {path}", lambda: _folder(place))
    if place.is_file():
        return cache.get(f"data {path}", lambda: (_file(place), [place]))
    return "missing"


class StatCache:
    """A JSON file of values, each with the sizes and times of the files that it was computed from.

    Args:
        path: of the JSON file; one that is missing, broken or of another layout counts as empty.
    """

    _LAYOUT = 1

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._changed = False
        try:
            stored = read_object(self.path, {"entries": dict, "layout": int}, "")
        except UserError:
            stored = {}
        entries = stored["entries"].items() if stored.get("layout") == self._LAYOUT else ()
        self._entries = {key: entry for key, entry in entries
                         if isinstance(entry, dict) and "value" in entry and isinstance(entry.get("files"), dict)}

    def get(self, key: str, compute: Callable[[], tuple[Any, Iterable[str | Path]]]) -> Any:
        """Return the value of a key.

        Args:
            compute: returns the value, to be kept as JSON, and the files and folders that it depends on. Adding or
                removing a file changes a folder.
        """
        entry = self._entries.get(key)
        if entry is None or any(_stat(path) != found for path, found in entry["files"].items()):
            value, files = compute()
            entry = {"value": value, "files": {str(path): _stat(path) for path in files}}
            self._entries[key], self._changed = entry, True
        return entry["value"]

    def save(self) -> None:
        """Write the file, in one step, if anything was computed."""
        if self._changed:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"layout": self._LAYOUT, "entries": self._entries}))
            self._changed = False


def _stat(path: str | Path) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read(path: str) -> tuple[tuple[Any, list[str]], list[str]]:
    """Return a config with its bases resolved and the files that it was read from; the latter twice, for the cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, at every import
        from mmengine.config import Config  # 2 s

        from mimtransfer.openmmlab.config_bases import read_config

        cfg = read_config(path)
        files, todo = {path}, [path]
        while todo:
            file = todo.pop()
            bases = {Config._get_cfg_path(base, file)[0] for base in Config._get_base_files(file)} - files
            files |= bases
            todo += bases
    # Configs call the recipes, which `_base_` does not name.
    files |= {str(recipe) for recipe in (Path(__file__).parents[1] / "training" / "recipes").glob("*.py")}
    return (cfg, sorted(files)), sorted(files)


def _places(dataset: Mapping) -> Iterator[str]:
    """Find the files and folders of a dataset: annotations, lists, folders of images."""
    root = str(dataset.get("data_root") or "")
    for key in _FILE_KEYS:
        if isinstance(dataset.get(key), str) and dataset[key]:
            yield os.path.join(root, dataset[key])
    prefix = dataset.get("data_prefix")
    if isinstance(prefix, Mapping):
        yield from (os.path.join(root, str(item)) for item in prefix.values() if item and "://" not in str(item))
    elif root:
        yield root
    for path in dataset["root"] if isinstance(dataset.get("root"), list | tuple) else [dataset.get("root")]:
        if path:
            yield str(path)
    yield from local_files(dataset.get("source"))


def _file(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE:
        return sha256_file(path)[:16]
    with open(path, "rb") as file:
        ends = file.read(1 << 20)
        file.seek(-(1 << 20), os.SEEK_END)
        ends += file.read()
    return hashlib.sha256(f"{size} ".encode() + ends).hexdigest()[:16]


def _folder(folder: Path) -> tuple[str, list[Path]]:
    """Digest what is read below a folder: links are followed, hidden files left out."""
    tree = walk(folder)
    folders, files = ([folder / os.fsdecode(path) for path in paths] for paths in (tree.folders, tree.files))
    files.sort()
    content = hashlib.sha256()
    for path in files:
        content.update(os.fsencode(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n"))
    return content.hexdigest()[:16], folders + files[:: max(1, len(files) // _SAMPLE)]
