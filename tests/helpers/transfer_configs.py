"""The shipped transfer configs, as tests/test_transfer_*.py look at them."""
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from shipped_configs import ROOT, leaves, load  # noqa: F401

import mimtransfer  # noqa: F401  before mmdet and mmseg

LEAVES = leaves("detection", "segmentation")
_BUILT: dict = {}


def build(cfg, device="meta"):
    with torch.device(device):
        return MODELS.build(cfg.model)


def build_all(cfg):
    """Return model and optimizer on the meta device; of equal configs they are the same objects, to look at only."""
    key = str((cfg.model.to_dict(), cfg.optim_wrapper.to_dict()))
    if key not in _BUILT:
        model = build(cfg)
        _BUILT[key] = model, build_optim_wrapper(model, cfg.optim_wrapper)
    return _BUILT[key]


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
