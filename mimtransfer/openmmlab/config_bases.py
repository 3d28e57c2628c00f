"""Read a config without waiting for its bases: those of mmdet and mmseg (`_base_ = 'mmdet::...'`), and our own.

For each base of a library mmengine parses the 100 YAML files of the library's model index and reloads `pkg_resources`:
0.8 s each, 2 to 4 s for a detector, minutes for a plan of a suite. Neither changes within a process. And each file is
copied to a new temporary folder, substituted and executed, eight files for a config of ours, although most configs
share them and a tool reads its config twice. A file whose content and bases are as before is read once. Each time that
it is written, into logs and into every checkpoint, yapf sets its line breaks anew, 0.2 s for a detector.
"""
from __future__ import annotations

import copy
import functools
import importlib
import os.path as osp
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimtransfer.shipped.configs import find_config

if TYPE_CHECKING:
    from mmengine.config import Config


def read_config(path: str | Path) -> Config:
    """Return `Config.fromfile(path)`; the model indices of libraries and files that stay the same are read once in a
    process.

    Args:
        path: or the short name of a config that is shipped.
    """
    from mmengine.config import Config

    keep_bases()
    return Config.fromfile(find_config(path))


@functools.cache
def keep_bases() -> None:
    """Let mmengine parse each index of models, read each file, and set the line breaks of a config once; and ask once
    whether a library is installed.
    """
    import mmengine.config.config as config
    import mmengine.config.utils as utils

    utils.load = functools.cache(utils.load)  # this module loads nothing but those indices
    config.is_installed = functools.cache(config.is_installed)
    config.Config._file2dict = staticmethod(_read_once(config.Config._file2dict))
    place: Any = config
    if not hasattr(config, "FormatCode"):  # onedl-mmengine takes it from yapf where it writes
        place = importlib.import_module("yapf.yapflib.yapf_api")
    place.FormatCode = _format_once(place.FormatCode)


def _format_once(format_code: Callable[..., Any]) -> Callable[..., Any]:
    """Return yapf's `FormatCode` with a memory of the last texts."""
    @functools.lru_cache(maxsize=4)
    def remembered(text: str, style: tuple, options: tuple) -> Any:
        return format_code(text, style_config=dict(style), **dict(options))

    @functools.wraps(format_code)
    def format_once(text: str, style_config: dict, **options: Any) -> Any:
        return remembered(text, tuple(style_config.items()), tuple(options.items()))

    return format_once


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return `Config._file2dict` with a memory: it gives a copy as long as no file below has another content.

    What may depend on more than files, by a variable of the environment or an imported module, is read each time.
    """
    kept: dict[tuple, tuple[dict[str, bytes | None], Any]] = {}
    unfinished: list[dict[str, bytes | None]] = []  # the files below each config that is being read

    @functools.wraps(read)
    def read_once(filename: str, *args: Any, **kwargs: Any) -> Any:
        path = osp.abspath(osp.expanduser(filename))
        key = (path, args, *sorted(kwargs.items()))
        files, result = kept.get(key, ({path: None}, None))
        if any(content is None or _content(file) != content for file, content in files.items()):
            files = {path: _content(path)}
            unfinished.append(files)
            try:
                result = read(filename, *args, **kwargs)
            finally:
                unfinished.pop()
            if re.search(rb"(?m)\{\{.*\$|^\s*(import|from)\s+(?!mimtransfer\.)", files[path] or b""):
                files[path] = None
            kept[key] = files, copy.deepcopy(result)
        else:
            result = copy.deepcopy(result)
        if unfinished:
            unfinished[-1].update(files)
        return result

    return read_once


def _content(file: str) -> bytes | None:
    try:
        return Path(file).read_bytes()
    except OSError:
        return None
