"""The shipped configs: each is read once in a process, and every test gets a copy to change."""
import copy
import functools
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[2] / "configs"


def leaves(*folders: str) -> list[str]:
    """Return the configs of these folders of configs/, as `folder/name.py`."""
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in ROOT.glob(f"{folder}/*.py"))


def load(leaf: str) -> Config:
    """Return a copy of a config, with its library as the default scope."""
    cfg = copy.deepcopy(_read(leaf))
    init_default_scope(cfg.get("default_scope", "mimtransfer"))
    return cfg


def unique(leaves: list[str], what_is_run) -> list[str]:
    """Keep the first leaf of those for which `what_is_run` returns the same."""
    kept = {}
    for leaf in leaves:
        kept.setdefault(str(what_is_run(leaf)), leaf)
    return list(kept.values())


@functools.cache
def _read(leaf: str) -> Config:
    return Config.fromfile(ROOT / leaf)
