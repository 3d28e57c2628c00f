"""The shipped configs: each is read once in a process, and every test gets a copy to change."""
import copy
import functools
import json
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mimtransfer.cli.bands import set_bands

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
    cfg = Config.fromfile(ROOT / leaf)
    preprocessor = (cfg.get("model") or {}).get("data_preprocessor") or {}
    if "statistics" in preprocessor:  # a file that its user makes
        numbers = dict(mean=[100.0], std=[50.0], min=[0.0], max=[255.0])
        found = dict(dtype="uint8", images=1, pixels=64) | {key: value * cfg.in_chans for key, value in numbers.items()}
        with tempfile.TemporaryDirectory() as folder:
            preprocessor["statistics"] = f"{folder}/statistics.json"
            Path(preprocessor["statistics"]).write_text(json.dumps(found))
            set_bands(cfg)
    return cfg
