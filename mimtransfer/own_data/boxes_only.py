"""Make a detector of boxes and masks one of boxes: for data that have no masks."""
from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mimtransfer.datasets.configured import dicts_in, name_of
from mimtransfer.errors import UserError

_WITHOUT = {"MaskRCNN": "FasterRCNN", "CascadeRCNN": "CascadeRCNN"}
_OF_MASKS = ("mask_head", "mask_roi_extractor")


def learns_masks(cfg: Config) -> bool:
    """Say whether the model of a detection config predicts masks."""
    return any(node.get(key) for node in dicts_in(cfg.get("model") or {}) for key in ("mask_head", "panoptic_head"))


def drop_masks(cfg: Config, source: str) -> str:
    """Take the mask head out of a Mask R-CNN or Cascade Mask R-CNN. Boxes, heads and losses are those of the config.

    Returns:
        what was done, in one line.

    Raises:
        UserError: the model learns masks in another way.
    """
    model: Any = cfg.model
    kind, roi_head = name_of(model), model.get("roi_head") or {}
    if kind not in _WITHOUT or not roi_head.get("mask_head"):
        raise UserError(f"data {source!r} have boxes without masks, but {kind} learns masks; choose a detector of "
                        "boxes, e.g. configs/detection/retinanet_vitdet_vit-base_100e_coco.py")
    for key in _OF_MASKS:
        roi_head.pop(key, None)
    model.type = model.type.replace(kind, _WITHOUT[kind])
    for node in dicts_in([model.get("train_cfg") or {}, model.get("test_cfg") or {}]):
        for key in ("mask_size", "mask_thr_binary"):
            node.pop(key, None)
    return f"The data have no masks: {kind} without its mask head, a {_WITHOUT[kind]}; box AP is scored"


def load_no_masks(cfg: Config) -> None:
    """Let no pipeline load masks. A crop then cuts boxes, where it would cut masks and take their boxes."""
    for name in ("train", "val", "test"):
        for step in dicts_in(cfg.get(f"{name}_dataloader") or {}):
            if name_of(step) == "LoadAnnotations":
                step.pop("with_mask", None)
