"""The shipped transfer configs, as tests/test_transfer_*.py look at them."""
import torch
from mmengine.registry import MODELS
from shipped_configs import ROOT, leaves, load  # noqa: F401

import mimtransfer  # noqa: F401  before mmdet and mmseg

LEAVES = leaves("detection", "segmentation")


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
