"""Read a config whose bases lie in mmdet or mmseg (`_base_ = 'mmdet::...'`) without waiting for their indices.

For each such base mmengine parses the 100 YAML files of the library's model index and reloads `pkg_resources`: 0.8 s
each, 2 to 4 s for a detector, minutes for a plan of a suite. Neither changes within a process.
"""
from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def read_config(path: str | Path) -> Config:
    """Return `Config.fromfile(path)`; the model indices of libraries are read once in a process."""
    from mmengine.config import Config

    keep_indices()
    return Config.fromfile(path)


@functools.cache
def keep_indices() -> None:
    """Let mmengine parse each index of models once, and ask once whether a library is installed."""
    import mmengine.config.config as config
    import mmengine.config.utils as utils

    utils.load = functools.cache(utils.load)  # this module loads nothing but those indices
    config.is_installed = functools.cache(config.is_installed)
