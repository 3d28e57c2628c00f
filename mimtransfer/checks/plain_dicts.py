"""Dicts of a config without a `type`: no class has a signature for them, so what their readers take is written here."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any, Literal

from mmengine.runner import set_random_seed

from mimtransfer.checks.signatures import Signature, signature
from mimtransfer.checks.values import EMPTY, near, shown

_ENVIRONMENT = Signature({"cudnn_benchmark": (bool, False), "mp_cfg": (dict, None), "dist_cfg": (dict, None),
                          "resource_limit": (int, 4096)})
_PROCESSES = Signature({"mp_start_method": (Literal["fork", "spawn", "forkserver"], "fork"),
                        "opencv_num_threads": (int, 0)})
_RULE = Signature({"lr_mult": (float, 1.0), "decay_mult": (float, 1.0)}, open=True)
_NMS = (dict, EMPTY)
# What mmdet's two-stage detectors read from model.train_cfg and model.test_cfg, without a default.
_PROPOSALS = {"nms_pre": (int, EMPTY), "max_per_img": (int, EMPTY), "nms": _NMS, "min_bbox_size": (float, EMPTY)}
_ASSIGNED = {"assigner": (EMPTY, EMPTY), "sampler": (EMPTY, None), "pos_weight": (float, EMPTY), "debug": (bool, False)}
_TWO_STAGE: dict[str, dict[str, tuple[Any, Any]]] = {
    "train_cfg.rpn": {**_ASSIGNED, "allowed_border": (float, EMPTY)},
    "train_cfg.rpn_proposal": _PROPOSALS,
    "train_cfg.rcnn": _ASSIGNED,
    "test_cfg.rpn": _PROPOSALS,
    "test_cfg.rcnn": {"score_thr": (float, EMPTY), "nms": _NMS, "max_per_img": (int, EMPTY)},
}
_SEGMENTOR = Signature({"mode": (Literal["whole", "slide"], "whole"), "crop_size": (Sequence[int] | int, None),
                        "stride": (Sequence[int] | int, None)}, open=True)
_DEFAULT_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint", "visualization")
_PACKAGES = {"WandbVisBackend": "wandb", "ClearMLVisBackend": "clearml", "MLflowVisBackend": "mlflow",
             "NeptuneVisBackend": "neptune", "DVCLiveVisBackend": "dvclive", "AimVisBackend": "aim"}
_TRIOS = (("train_dataloader", "train_cfg", "optim_wrapper"), ("val_dataloader", "val_cfg", "val_evaluator"),
          ("test_dataloader", "test_cfg", "test_evaluator"))


def plain_dicts(cfg: Mapping) -> Iterator[tuple[str, Any, Signature, bool]]:
    """Yield (path, dict, what it may hold, whether what has no default must be there)."""
    environment = cfg.get("env_cfg")
    yield "env_cfg", environment, _ENVIRONMENT, False
    if isinstance(environment, Mapping):
        yield "env_cfg.mp_cfg", environment.get("mp_cfg"), _PROCESSES, False
        yield "env_cfg.dist_cfg", environment.get("dist_cfg"), Signature({"backend": (str, "nccl")}, open=True), False
    scale = cfg.get("auto_scale_lr")
    enabled = isinstance(scale, Mapping) and bool(scale.get("enable"))
    yield "auto_scale_lr", scale, Signature({"enable": (bool, False), "base_batch_size": (float, EMPTY)}), enabled
    yield "randomness", cfg.get("randomness"), signature(set_random_seed), False
    model = cfg.get("model")
    if not isinstance(model, Mapping):
        return
    kind = str(model.get("type")).rpartition(".")[2]
    if kind in ("FasterRCNN", "MaskRCNN", "CascadeRCNN"):
        masks = isinstance(model.get("roi_head"), Mapping) and model["roi_head"].get("mask_head")
        for path, slots in _TWO_STAGE.items():
            node: Any = model
            for key in path.split("."):
                node = node.get(key) if isinstance(node, Mapping) else None
            if path.endswith("rcnn") and masks:
                slots = {**slots, "mask_size" if path.startswith("train") else "mask_thr_binary": (EMPTY, EMPTY)}
            for number, one in enumerate(node) if isinstance(node, list | tuple) else [("", node)]:
                yield f"model.{path}.{number}".rstrip("."), one, Signature(slots, open=True), True
    if kind == "EncoderDecoder":
        yield "model.test_cfg", model.get("test_cfg"), _SEGMENTOR, False


def missing_packages(cfg: Mapping) -> Iterator[str]:
    """Yield the visualization backends whose package is not installed: mmengine looks when the run has begun."""
    places = {"vis_backends": cfg.get("vis_backends")}
    if isinstance(cfg.get("visualizer"), Mapping):
        places = {"visualizer.vis_backends": cfg["visualizer"].get("vis_backends")}
    for path, backends in places.items():
        for number, backend in enumerate(backends if isinstance(backends, list | tuple) else ()):
            name = str(backend.get("type") if isinstance(backend, Mapping) else "").rpartition(".")[2]
            package = _PACKAGES.get(name)
            if package and find_spec(package) is None:
                yield (f"{path}.{number} ({name}) needs the package {package!r}, which is not installed: "
                       f"pip install {package}, or take it out")


def rules_of(rules: Mapping, path: str) -> Iterator[tuple[str, Any, Signature]]:
    """Yield the dicts in `paramwise_cfg.custom_keys`."""
    keys = rules.get("custom_keys")
    for name, rule in keys.items() if isinstance(keys, Mapping) else ():
        yield f"{path}.custom_keys.{name}", rule, _RULE


def lonely_sections(cfg: Mapping) -> Iterator[str]:
    """Yield what is missing beside the sections that are there: the Runner takes all of a loop or none."""
    if not isinstance(cfg.get("model"), Mapping):
        yield "model is missing, expected model=dict(type=...)" if cfg.get("model") is None else (
            f"model is {cfg['model']!r}, expected dict(type=...)")
    for trio in _TRIOS:
        absent = [key for key in trio if cfg.get(key) is None]
        if 0 < len(absent) < len(trio):
            there = [key for key in trio if key not in absent]
            yield f"{' and '.join(absent)} missing beside {' and '.join(there)}; give all three or none"


def untyped(cfg: Mapping) -> Iterator[str]:
    """Yield what is built, but is no dict or has no `type`."""
    items: dict[str, Any] = {"model": cfg.get("model")}
    for section in ("custom_hooks", "param_scheduler", "val_evaluator", "test_evaluator"):
        node = cfg.get(section)
        for number, item in enumerate(node) if isinstance(node, list | tuple) else [("", node)]:
            if item is not None and (number != "" or section.endswith("evaluator")):
                items[f"{section}.{number}".rstrip(".")] = item
        if section.endswith("evaluator") and node == []:
            yield f"{section} is [], expected a metric"
    hooks = cfg.get("default_hooks")
    for name, item in hooks.items() if isinstance(hooks, Mapping) else ():
        if item is not None:
            items[f"default_hooks.{name}"] = item
        if name not in _DEFAULT_HOOKS and (meant := near(str(name), _DEFAULT_HOOKS, cutoff=0.75)):
            yield f"default_hooks takes no key {name!r}; did you mean {meant!r}?"
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        steps = dataset.get("pipeline") if isinstance(dataset, Mapping) else None
        for number, step in enumerate(steps if isinstance(steps, list | tuple) else ()):
            items[f"{split}_dataloader.dataset.pipeline.{number}"] = step
        if isinstance(dataset, Mapping) and steps is not None and not steps and "dataset" not in dataset:
            yield f"{split}_dataloader.dataset.pipeline is {steps!r}, expected a list of transforms"
        about = dataset.get("metainfo") if isinstance(dataset, Mapping) else None
        for name in about if isinstance(about, Mapping) else ():
            if name != "classes" and near(str(name), ["classes"]):
                yield f"{split}_dataloader.dataset.metainfo takes no key {name!r}; did you mean 'classes'?"
        prefix = dataset.get("data_prefix") if isinstance(dataset, Mapping) else None
        for name, folder in prefix.items() if isinstance(prefix, Mapping) else ():
            if not isinstance(folder, str | list | tuple | PurePath | None):
                yield f"{split}_dataloader.dataset.data_prefix.{name} is {folder!r}, expected a text"
    for path, item in items.items():
        if isinstance(item, Mapping) and "type" not in item:
            yield f"{path} needs the key 'type'"
        elif item is not None and not isinstance(item, Mapping) and isinstance(item, str | int | float | list | tuple):
            yield f"{path} is {shown(item)}, expected dict(type=...)"
