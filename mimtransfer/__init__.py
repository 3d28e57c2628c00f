"""mimtransfer: from masked image modelling to COCO and ADE20K transfer tables, in one codebase.

    from mimtransfer import load_backbone, pretrain, transfer, table       # docs/api.md

`mimtransfer.pretrain` is this function; the package `pretrain`, beside this one, holds the methods.
"""
import importlib
from typing import TYPE_CHECKING, Any

from mimtransfer.openmmlab.attention_points import install as _keep_points_wide
from mimtransfer.openmmlab.mmcv_ext import install as _supply_mmcv_ext
from mimtransfer.openmmlab.own_bases import install as _find_our_bases

if TYPE_CHECKING:
    from mimtransfer.api.backbone import load_backbone as load_backbone
    from mimtransfer.api.runs import pretrain as pretrain
    from mimtransfer.api.runs import transfer as transfer
    from mimtransfer.api.tables import table as table

__version__ = "0.1.0"

_supply_mmcv_ext()  # nothing happens where mmcv is compiled; first, before anything can import mmdet or mmseg
_keep_points_wide()
_find_our_bases()

# Looked up when they are asked for: a config that imports this package to register a backbone needs none of them.
_API = {"load_backbone": "backbone", "pretrain": "runs", "transfer": "runs", "table": "tables"}


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'mimtransfer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mimtransfer.api.{_API[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
