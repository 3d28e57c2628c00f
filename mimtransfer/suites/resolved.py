"""Configs with their bases and options resolved; read again only when one of their files has changed."""
import argparse
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimtransfer.errors import UserError, near_files
from mimtransfer.suites.stat_cache import StatCache


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


def option_texts(options: Mapping[str, Any]) -> list[str]:
    """Return `KEY=VALUE` for the command line; mmengine reads lists as `[a,b]`."""
    return [f"{key}={_text(value)}" for key, value in options.items()]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ("[%s]" if isinstance(value, list) else "(%s)") % ",".join(map(_text, value))
    return str(value)


def _read(path: str, texts: list[str]) -> tuple[dict[str, Any], list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources, at every import
        from mmengine.config import Config, DictAction  # 2 s

        cfg = Config.fromfile(path)
        files = sorted(_files(path, Config))
    if texts:
        parser = argparse.ArgumentParser()
        parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        cfg.merge_from_dict(parser.parse_args(["--cfg-options", *texts]).cfg_options)
    plain = json.loads(json.dumps(cfg.to_dict(), default=lambda kind: getattr(kind, "__name__", str(kind))))
    return plain, files


def _files(path: str, Config: type) -> set[str]:
    found = {path}
    for base in Config._get_base_files(path):
        found |= _files(Config._get_cfg_path(base, path)[0], Config)
    return found
