"""The shipped transfer configs, as tests/test_transfer_*.py look at them."""
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import mimtransfer  # noqa: F401  before mmdet and mmseg

ROOT = Path(__file__).parents[2] / "configs"
LEAVES = sorted(str(p.relative_to(ROOT)) for task in ("detection", "segmentation") for p in (ROOT / task).glob("*.py"))


def load(leaf):
    cfg = Config.fromfile(ROOT / leaf)
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg, device="meta"):
    with torch.device(device):
        return MODELS.build(cfg.model)


def nodes(node):
    if isinstance(node, dict):
        yield node
        node = node.values()
    if not isinstance(node, (str, bytes)) and hasattr(node, "__iter__"):
        for child in node:
            yield from nodes(child)


def num_classes(cfg):
    """Return the number of classes of every head."""
    return [n[key] for n in nodes(cfg.model.to_dict()) for key in ("num_classes", "num_things_classes") if key in n]
