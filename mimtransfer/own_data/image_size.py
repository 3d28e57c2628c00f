"""Another image size for a config: crops, scales, padding, windows of the test, positions of the backbone follow."""
from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from mimtransfer.datasets.configured import dicts_in, leaves, name_of
from mimtransfer.errors import UserError

LARGEST = 16_384  # pixels: what is larger is a slip of the fingers, and no memory holds it
_SIZES = ("size", "scale", "scales", "crop_size", "img_scale", "input_size", "pad_to", "size_divisor")
_STEPS_AS_THEY_ARE = ("RandomErasing", "FilterAnnotations", "CutOut")
_OF_MODEL = ("pad_size_divisor", "size")  # of the preprocessor
_OF_BACKBONE = ("img_size", "rel_pos_size")


def set_image_size(cfg: Config, size: int) -> None:
    """Bring all that depends on the size of the images to another one; what is not square keeps its ratio.

    The size of a config is the longer side of what its network is trained on: the crop, where there is one.

    Args:
        size: new longer side, in pixels.

    Raises:
        UserError: no multiple of what the network needs, larger than `LARGEST`, or nothing in the config says the size.
    """
    cell = _cell(cfg)
    if size < 2 * cell or size % cell:
        raise UserError(f"--image-size {size}: expected a multiple of {cell}, at least {2 * cell}, e.g. "
                        f"{max(2, round(size / cell)) * cell}")
    if size > LARGEST:
        raise UserError(f"--image-size {size}: expected at most {LARGEST} pixels")
    before = image_size_of(cfg)
    if size == before:
        return
    ratio = size / before
    for steps in _pipelines(cfg):
        for step in dicts_in(steps):
            if name_of(step) not in _STEPS_AS_THEY_ARE:
                _scale(step, _SIZES, ratio)
    for phase in (phase for hook in cfg.get("custom_hooks") or () for phase in hook.get("phases") or ()):
        if "image_size" in phase:
            phase["image_size"] = max(cell, round(phase["image_size"] * ratio / cell) * cell)
    model = cfg.get("model") or {}
    _scale(model.get("data_preprocessor") or {}, _OF_MODEL, ratio, least=before // 4)
    for key in ("backbone", "encoder"):
        backbone = model.get(key) or {}
        _scale(backbone, _OF_BACKBONE if _positions_follow(backbone, before) else ("rel_pos_size",), ratio,
               least=before // 2)
    test = model.get("test_cfg") or {}
    if test.get("mode") == "slide":
        _scale(test, ("crop_size", "stride"), ratio)
    for node in dicts_in(model.get("data_preprocessor") or {}):
        if name_of(node) in ("BatchFixedSizePad", "BatchSyncRandomResize"):
            _scale(node, ("size",), ratio)


def image_size_of(cfg: Config) -> int:
    """Return the longer side, in pixels, of what the network is trained on.

    Raises:
        UserError: nothing in the config says it.
    """
    steps: Any = next(iter(_pipelines(cfg)), [])
    steps = [step for step in ([steps] if isinstance(steps, dict) else steps) if isinstance(step, dict)]
    # A crop inside a choice of transforms is not the last word.
    crops = [step for step in steps if "Crop" in name_of(step) or name_of(step) == "TimmAugment"]
    sized = [step for step in dicts_in(steps) if name_of(step) not in (*_STEPS_AS_THEY_ARE, "Pad")]
    for chosen in (crops[-1:], sized[::-1]):  # the last one counts: DINO's crop is of an image enlarged before
        for step in chosen:
            if found := [value for key in _SIZES for value in _numbers(step.get(key))]:
                return max(found)
    model = cfg.get("model") or {}
    sizes = _numbers((model.get("backbone") or model.get("encoder") or {}).get("img_size"))
    if sizes:  # images that are shown as they are
        return max(sizes)
    raise UserError("--image-size: nothing in the training pipeline of this config says a size; use --cfg-options")


def _pipelines(cfg: Config) -> Iterator[Any]:
    """Yield the pipelines of all data, those of training first."""
    loaders = [cfg.get(f"{name}_dataloader") for name in ("train", "val", "test")]
    loaders.append((cfg.get("test_cfg") or {}).get("memory_dataloader"))
    for loader in loaders:
        dataset = (loader or {}).get("dataset")
        if isinstance(dataset, dict):
            for leaf in leaves(dataset):
                yield leaf.get("pipeline") or leaf.get("transform") or []
            if "dataset" in dataset and dataset.get("pipeline"):
                yield dataset["pipeline"]
    if cfg.get("tta_pipeline"):
        yield cfg["tta_pipeline"]


def _positions_follow(backbone: dict, before: int) -> bool:
    """Say whether the position embedding has the size of the images, and not that of the pretraining."""
    size = backbone.get("img_size")
    return size is not None and max(_numbers(size), default=0) == before


def _scale(node: dict, keys: tuple[str, ...], ratio: float, least: int = 0) -> None:
    for key in keys:
        if key in node and max(_numbers(node[key]), default=0) > least:
            node[key] = _scaled(node[key], ratio)


def _scaled(value: Any, ratio: float) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_scaled(item, ratio) for item in value)
    if type(value) is int:
        return max(1, round(value * ratio))
    return value  # a range of ratios, as `scale` of a random resized crop has it


def _numbers(value: Any) -> list[int]:
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return [value] if type(value) is int and value > 1 else []


def _cell(cfg: Config) -> int:
    """Return what sides must be multiples of: a patch in pretraining and classification, else two."""
    model = cfg.get("model") or {}
    pretraining = "backbone" not in model  # DETRs have an encoder, too
    backbone = model.get("encoder" if pretraining else "backbone") or {}
    kind, arch = name_of(backbone), str(backbone.get("arch", ""))
    patch = backbone.get("patch_size")
    if patch is None:
        found = re.search(r"patch(\d+)", arch)
        patch = int(found.group(1)) if found else 16
    patch = max(_numbers(patch), default=16)
    if kind in ("TimmSwin", "TimmCNN"):
        return 32
    unit = (model.get("strategy") or {}).get("unit", 1)
    return patch * (unit if pretraining else 1 if cfg.get("task") == "classification" else 2)


def nearest_size(cfg: Config, wanted: int) -> int:
    """Return the allowed image size nearest to one that is wanted, not above that of the config."""
    cell = _cell(cfg)
    return min(max(2, math.floor(wanted / cell)) * cell, image_size_of(cfg))
