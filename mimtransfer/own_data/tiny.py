"""Make the model of a config small: a ViT-Ti, or a Swin-T, heads of 64 channels, few proposals."""
from __future__ import annotations

from typing import Any

from mimtransfer.datasets.configured import dicts_in, name_of

_WIDTHS = {"small": 384, "base": 768, "large": 1024, "huge": 1280, "giant": 1408}
_DEPTHS = {"large": 24, "huge": 32, "giant": 40}
TINY, WIDTH, _DEPTH = "vit_tiny_patch16_224", 192, 12
_CHANNELS = 64
_OF_WIDTH = ("in_channels", "embed_dim", "channels")
_OF_CHANNELS = ("in_channels", "out_channels", "feat_channels", "conv_out_channels")


def tiny_model(model: Any, keep_backbone: bool) -> None:
    """Make a model small, in place. Transformer heads (DINO, Mask2Former) keep theirs.

    Args:
        keep_backbone: leave the backbone, and what depends on its width, as they are.
    """
    for key in ("backbone", "encoder"):
        if key in model and not keep_backbone:
            _tiny_backbone(model, model[key])
    if "roi_head" in model or name_of(model) == "RetinaNet":
        _thin_detector(model)
    for key in ("decode_head", "auxiliary_head"):
        heads = model.get(key)
        for head in heads if isinstance(heads, list | tuple) else [heads] if heads else []:
            if name_of(head) == "UPerHead" or (key == "auxiliary_head" and name_of(head) == "FCNHead"):
                head["channels"] = min(head["channels"], _CHANNELS)
    for key in ("decoder", "predictor"):
        if isinstance(model.get(key), dict) and "depth" in model[key]:
            model[key]["depth"] = min(model[key]["depth"], 2)


def _tiny_backbone(model: Any, backbone: dict) -> None:
    arch = str(backbone.get("arch", ""))
    if name_of(backbone) == "TimmSwin":
        backbone["arch"] = "swin_tiny_patch4_window7_224"
    size = next((size for size in _WIDTHS if size in arch), None)
    if name_of(backbone) != "TimmViT" or size is None or "embed_dim" in (backbone.get("model_kwargs") or {}):
        return
    depth = _DEPTHS.get(size, _DEPTH)
    backbone["arch"] = TINY
    if "eva02" in arch or "patch14" in arch:
        backbone.setdefault("patch_size", 16)
    for key in ("out_indices", "global_blocks"):
        if key in backbone:
            blocks = backbone[key]
            backbone[key] = tuple(block if block < 0 else max(0, (block + 1) * _DEPTH // depth - 1) for block in blocks)
    if backbone.get("frozen_stages", -1) > _DEPTH:
        backbone["frozen_stages"] = _DEPTH
    if "drop_path_rate" in backbone:
        backbone["drop_path_rate"] = 0.0
    backbone.pop("grad_checkpointing", None)
    parts = [model.get(key) for key in ("neck", "decode_head", "auxiliary_head", "bbox_head", "decoder")]
    for node in dicts_in(parts):
        for key in _OF_WIDTH:
            if key in node:
                for times in range(1, 5):  # a linear head takes the maps of several blocks as one
                    node[key] = _replaced(node[key], times * _WIDTHS[size], times * WIDTH)


def _thin_detector(model: Any) -> None:
    for key in ("neck", "rpn_head", "roi_head", "bbox_head"):
        for node in dicts_in(model.get(key) or {}):
            for name in _OF_CHANNELS:
                if name in node:
                    node[name] = _replaced(node[name], 256, _CHANNELS)
            if node.get("fc_out_channels", 0) > 256:
                node["fc_out_channels"] = 256
    for node in dicts_in([model.get("train_cfg") or {}, model.get("test_cfg") or {}]):
        if name_of(node) == "RandomSampler":
            node["num"] = min(node["num"], 64)
        if node.get("nms_pre", 0) > 500:
            node["nms_pre"] = 500
        if node.get("max_per_img", 0) > 200:
            node["max_per_img"] = 200


def _replaced(value: Any, before: int, after: int) -> Any:
    if isinstance(value, list | tuple):
        return [_replaced(item, before, after) for item in value]
    return after if value == before else value
