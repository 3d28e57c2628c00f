"""Configs with their bases and options resolved; read again only when one of their files has changed."""
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimtransfer.cli.options import option_texts, read_options
from mimtransfer.errors import UserError, near_files
from mimtransfer.suites.stat_cache import StatCache

_RECIPES = Path(__file__).parents[1] / "training" / "recipes"


def resolve(path: str, options: Mapping[str, Any], cache: StatCache) -> dict[str, Any]:
    """Return a config as plain dictionaries, lists and numbers.

    Args:
        options: dotted key -> value, as for `--cfg-options`.

    Raises:
        UserError: there is no such file.
    """
    if not Path(path).is_file():
        raise UserError(f"config {path!r} does not exist{near_files(path)}")
    texts = option_texts(options)
    return cache.get(f"config {path} {' '.join(texts)}", lambda: _read(path, texts))


def _read(path: str, texts: list[str]) -> tuple[dict[str, Any], list[str | Path]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, at every import
        from mmengine.config import Config  # 2 s

        cfg = Config.fromfile(path)
        files: list[str | Path] = sorted(_files(path, Config))
    files += [_RECIPES, *_RECIPES.glob("*.py")]  # configs call them; Config.fromfile does not say so
    cfg.merge_from_dict(read_options(texts))
    plain = json.loads(json.dumps(cfg.to_dict(), default=lambda kind: getattr(kind, "__name__", str(kind))))
    return plain, files


def _files(path: str, Config: type) -> set[str]:
    found = {path}
    for base in Config._get_base_files(path):
        found |= _files(Config._get_cfg_path(base, path)[0], Config)
    return found
