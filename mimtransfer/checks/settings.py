"""Check a whole config against the signatures of what it builds, before anything is built or read from the disk.

mmengine builds hooks, schedulers, loops and data loaders one after the other, some of them hours after the start, and
takes misspelt keys where it reads plain dictionaries. Here every dict with a `type` is looked up in its registry, and
its keys and values are held against the signature of the class. What cannot be judged passes: a false refusal is worse
than a miss.
"""
from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from mimtransfer.checks import FAIL, Finding
from mimtransfer.checks.plain_dicts import lonely_sections, missing_packages, plain_dicts, rules_of, untyped
from mimtransfer.checks.signatures import Signature, find, keys_read, known_names, lax, ours, signature
from mimtransfer.checks.values import EMPTY, WEIGHT_DECAY, misfit, near, shown
from mimtransfer.errors import UserError, near_matches

# Part of the config -> what it builds. All other top-level keys are variables of the file.
_SECTIONS = {
    "model": "model", "data_preprocessor": "model", "tta_model": "model",
    "train_dataloader": "data loader", "val_dataloader": "data loader", "test_dataloader": "data loader",
    "train_cfg": "loop", "val_cfg": "loop", "test_cfg": "loop",
    "optim_wrapper": "optim wrapper", "param_scheduler": "parameter scheduler",
    "val_evaluator": "metric", "test_evaluator": "metric",
    "default_hooks": "hook", "custom_hooks": "hook",
    "visualizer": "visualizer", "log_processor": "log processor", "model_wrapper_cfg": "model wrapper",
}
# Arguments that the builder takes for itself, and those that it gives, which need not be in the config.
_TAKEN: dict[str, dict[str, tuple[Any, Any]]] = {
    "hook": {"priority": (int | str | None, None)}, "parameter scheduler": {"convert_to_iter_based": (bool, False)},
    "weight initializer": {"override": (EMPTY, None), "name": (EMPTY, None)},
}
_GIVEN = {
    "hook": set(), "parameter scheduler": {"optimizer", "param_name"}, "optimizer": {"params", "lr"}, "metric": set(),
    "loop": {"runner", "dataloader", "evaluator"}, "optim wrapper": {"optimizer"}, "model wrapper": {"module"},
    "visualizer": {"save_dir", "name"}, "sampler": {"dataset", "sampler", "batch_size"}, "log processor": set(),
    "collate function": {"data_batch", "batch"}, "data set": set(), "transform": set(),
}
_GIVEN_TO = {name: {"encoder", "num_values"} for name in ("PixelDecoder", "CrossDecoder")}  # by MAE
_UNTYPED = {("MAE", "decoder"): "PixelDecoder", ("IJEPA", "predictor"): "PixelDecoder"}  # built without a `type`
# What the parts of a part are.
_BELOW = {"hook": "part", "loop": "part", "metric": "part", "sampler": "part", "optimizer": "part",
          "parameter scheduler": "part", "log processor": "part", "model wrapper": "part", "optim wrapper": "part"}
_LISTS = ("param_scheduler", "custom_hooks", "val_evaluator", "test_evaluator")
_LOADER = ("dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "num_batch_per_epoch")
_CLIP = {"value": clip_grad_value_, "norm": clip_grad_norm_}


def check_settings(cfg: Config) -> None:
    """Refuse a config with a key or a value that what it builds cannot be meant to take.

    Call it inside the default scope of the config (`launch.enter_scope`).

    Raises:
        UserError: names the first, in doctor's line, and how many more there are.
    """
    found = list(setting_findings(cfg))
    if found:
        more = f"; and {len(found) - 1} more: tools/doctor.py lists them" if len(found) > 1 else ""
        raise UserError(f"{found[0].line}{more}")


def setting_findings(cfg: Config) -> Iterator[Finding]:
    """Yield what is wrong with the keys and values of a config: doctor prints all, the tools stop at the first."""
    for line in wrong_settings(cfg):
        what, _, fix = line.partition("; ")
        yield Finding(FAIL, f"config: {what}", fix)


def wrong_settings(cfg: Config) -> list[str]:
    """Return a line for each key or value that cannot be meant: where it is, what it is, and what is expected."""
    scope = DefaultScope.get_current_instance()
    name = scope.scope_name if scope is not None else cfg.get("default_scope", "mimtransfer")
    return list(dict.fromkeys(_Walk(name).config(cfg.to_dict() if hasattr(cfg, "to_dict") else cfg)))


class _Walk:
    """One look at a config in a default scope."""

    def __init__(self, scope: str):
        self.scope = scope

    def config(self, cfg: Mapping) -> Iterator[str]:
        yield from _misspelt_sections(cfg)
        yield from lonely_sections(cfg)
        for section, kind in _SECTIONS.items():
            node = cfg.get(section)
            if isinstance(node, Mapping | list | tuple):
                yield from self.nodes(node, section, kind)
            if node is not None and not callable(node) and not isinstance(
                node, (Mapping, list, tuple) if section in _LISTS else Mapping
            ):
                yield f"{section} is {shown(node)}, expected dict(...)"
        known = {"default_scope": (str, None), "resume": (bool, None), "load_from": (str, None),
                 "work_dir": (str, None), "launcher": (str, "none")}
        for key, slot in known.items():
            if key in cfg and (expected := misfit(key, cfg[key], *slot, "", lax=False)):
                yield f"{key} is {shown(cfg[key])}, {expected}"
        for path, node, one, needed in plain_dicts(cfg):
            if isinstance(node, Mapping):
                name = path.rpartition(".")[2]
                yield from self.keys(node, path, name, one, path, needed=needed)
            elif node is not None:
                yield f"{path} is {shown(node)}, expected dict(...)"
        yield from untyped(cfg)
        yield from missing_packages(cfg)

    def nodes(self, node: Any, path: str, kind: str, key: str = "") -> Iterator[str]:
        """Walk what may hold dicts with a `type`."""
        if isinstance(node, float) and math.isnan(node):
            yield f"{path} is nan, expected a number"
        elif isinstance(node, list | tuple):
            for number, item in enumerate(node):
                yield from self.nodes(item, f"{path}.{number}", kind, key)
        elif isinstance(node, Mapping):
            kind = _kind_of(key, kind)
            if kind == "data loader":
                yield from self.loader(node, path)
            elif kind == "loop" and "." not in path:
                split = path.partition("_")[0].title()
                by_epoch = node.get("by_epoch", True)
                if "type" not in node and not isinstance(node.get("by_epoch", True), bool):
                    yield f"{path}.by_epoch is {shown(node['by_epoch'])}, expected True or False"
                node = node if "type" in node else {key: item for key, item in node.items() if key != "by_epoch"}
                epochs = "" if split != "Train" else "EpochBased" if by_epoch else "IterBased"
                yield from self.built(node, path, kind, f"{epochs}{split}Loop")
            elif kind == "optim wrapper" and "." not in path:
                yield from self.optim_wrapper(node, path)
            elif path == "log_processor":
                yield from self.built(node, path, kind, "LogProcessor")
            else:
                yield from self.built(node, path, kind)

    def built(
        self, node: Mapping, path: str, kind: str, default: str | None = None, apart: Iterable[str] = ()
    ) -> Iterator[str]:
        """Check a dict and what is in it. It builds its `type`, or else `default`; without both it is only walked."""
        name = node.get("type", default)
        known = find(name, kind, self.scope) if isinstance(name, str) else [name] if callable(name) else []
        if "_scope_" in node and (not node["_scope_"] or not isinstance(node["_scope_"], str)):
            yield f"{path}._scope_ is {shown(node['_scope_'])}, expected a text"
        if "type" in node and (not name or not isinstance(name, str)) and not callable(name):
            yield f"{path}.type is {shown(name)}, expected the name of a class"
        elif isinstance(name, str) and not known and kind in _GIVEN and "." not in name:
            hint = near_matches(name, known_names(kind, self.scope))
            if hint or kind not in ("transform", "data set", "collate function"):
                yield f"{path}.type: {name!r} is no {kind}; {hint or 'custom_imports imports the file that has it'}"
        if name is None and kind in _GIVEN and (meant := near("type", map(str, node), cutoff=0.7)):
            yield f"{path} takes no key {meant!r}; did you mean 'type'?"
        # A name that several registries know: what either takes is right.
        found = [list(self.keys(node, path, _short(name), signature(one), kind, lax(one), apart,
                                needed=kind in _GIVEN or (ours(one) and kind == "model"))) for one in known]
        yield from min(found, key=len, default=[])
        if name == "Albu":
            return  # albumentations' own names
        below = _BELOW.get(kind, kind) if name is not None else kind
        for key, item in node.items():
            if key in apart or key == "type":
                continue
            part = _UNTYPED.get((_short(name).rpartition(".")[2], key))
            if kind == "data set" and key == "transform" and isinstance(item, list | tuple):
                yield from self.torchvision(item, f"{path}.transform")
            elif part and isinstance(item, Mapping):
                yield from self.built(item, f"{path}.{key}", below, part)
            else:
                yield from self.nodes(item, f"{path}.{key}", "transform" if key == "transform" else below, str(key))

    def keys(
        self, node: Mapping, path: str, name: str, one: Signature, kind: str, lax: bool = False,
        apart: Iterable[str] = (), needed: bool = False,
    ) -> Iterator[str]:
        """Hold the keys and plain values of a dict against a signature."""
        passed = {"type", "_scope_", "_delete_", *apart}
        one = Signature({**one.slots, **_TAKEN.get(kind, {})}, one.open)
        ranged = WEIGHT_DECAY if node.get("param_name") == "weight_decay" else kind
        # mmcv and mmdet take keys off such a dict before they build it.
        part = path.rpartition(".")[2]
        free = one.open or (lax and (part.endswith("cfg") or part.startswith("loss") or not one.slots))
        for key, value in node.items():
            if key in passed or part == "dcn":
                continue
            if key not in one.slots:
                if not free or near(str(key), one.slots):
                    yield f"{path} ({name}) takes no key {key!r}; {_hint(str(key), one.slots)}"
                continue
            if isinstance(value, float) and math.isnan(value):
                yield f"{path}.{key} is nan, expected a number"
            elif expected := misfit(key, value, *one.slots[key], ranged, lax):
                yield f"{path}.{key} ({name}) is {shown(value)}, {expected}"
        given = {*node, *_GIVEN.get(kind, ()), *_GIVEN_TO.get(name, ()), *apart}
        absent = [slot for slot, (_, default) in one.slots.items() if default is EMPTY and slot not in given]
        if needed and absent:
            yield f"{path} ({name}) needs the key {', '.join(map(repr, absent))}"

    def loader(self, node: Mapping, path: str) -> Iterator[str]:
        yield from self.keys(node, path, "DataLoader", signature(DataLoader), "data loader", apart=_LOADER)
        absent = [key for key in ("dataset", "sampler") if node.get(key) is None]
        absent += ["batch_size"] * ("batch_size" not in node)
        if absent:
            yield f"{path} needs the key {', '.join(map(repr, absent))}"
        for key, kind in (("dataset", "data set"), ("sampler", "sampler"), ("batch_sampler", "sampler"),
                          ("collate_fn", "collate function")):
            value = node.get(key)
            if isinstance(value, str | int | float | list | tuple):
                yield f"{path}.{key} is {shown(value)}, expected dict(type=...)"
            elif isinstance(value, Mapping) and "type" not in value:
                yield f"{path}.{key} needs the key 'type'"
            yield from self.nodes(value, f"{path}.{key}", kind)

    def torchvision(self, steps: Iterable[Any], path: str) -> Iterator[str]:
        """Check a list of torchvision's transforms, as our labelled images take them."""
        from timm.data import create_transform
        from torchvision.transforms import v2

        for number, step in enumerate(steps):
            name = str(step.get("type")) if isinstance(step, Mapping) else ""
            built: Any = create_transform if name == "TimmAugment" else getattr(v2, name, None)
            if not inspect.isclass(built) and built is not create_transform:
                hint = near_matches(name, dir(v2))
                yield f"{path}.{number}: {name!r} is not in torchvision.transforms.v2; {hint}"
            else:
                one = signature(cast(Any, built))
                needed = name != "TimmAugment"
                yield from self.keys(step, f"{path}.{number}", name, one, "transform", lax=True, needed=needed)

    def optim_wrapper(self, node: Mapping, path: str) -> Iterator[str]:
        constructor = node.get("constructor", "DefaultOptimWrapperConstructor")
        if not isinstance(constructor, str) and not callable(constructor):
            yield f"{path}.constructor is {shown(constructor)}, expected the name of a class"
        if "optimizer" not in node and "constructor" in node and not near("optimizer", map(str, node)):
            return  # several optimizers: only the constructor knows its keys
        yield from self.built(node, path, "optim wrapper", "OptimWrapper",
                              apart=("constructor", "paramwise_cfg", "optimizer", "clip_grad"))
        optimizer, clip, rules = (node.get(key) for key in ("optimizer", "clip_grad", "paramwise_cfg"))
        if not isinstance(optimizer, Mapping) or "type" not in optimizer:
            yield f"{path}.optimizer is {shown(optimizer)}, expected dict(type=...)"
        yield from self.nodes(optimizer, f"{path}.optimizer", "optimizer")
        for key, value in (("clip_grad", clip), ("paramwise_cfg", rules)):
            if value is not None and not isinstance(value, Mapping):
                yield f"{path}.{key} is {shown(value)}, expected dict(...)"
            yield from self.nodes(value, f"{path}.{key}", "")
        if isinstance(clip, Mapping) and clip.get("type", "norm") in _CLIP:
            slots = dict(signature(_CLIP[clip.get("type", "norm")]).slots)
            del slots["parameters"]
            yield from self.keys(clip, f"{path}.clip_grad", "clip_grad", Signature(slots), "clip_grad", needed=True)
        if isinstance(rules, Mapping):
            yield from self.paramwise(rules, f"{path}.paramwise_cfg", node)

    def paramwise(self, rules: Mapping, path: str, wrapper: Mapping) -> Iterator[str]:
        name = wrapper.get("constructor", "DefaultOptimWrapperConstructor")
        known = {key for one in find(name, "constructor", self.scope) for key in keys_read(one)} if isinstance(
            name, str) else set()
        slots: dict[str, tuple[Any, Any]] = {
            key: (float if key.endswith(("_mult", "_rate")) else Sequence if key.endswith("names") else EMPTY, None)
            for key in known
        }
        if known:
            yield from self.keys(rules, path, _short(name), Signature(slots, open=True), "paramwise_cfg")
        for place, rule, one in rules_of(rules, path):
            if isinstance(rule, Mapping):
                yield from self.keys(rule, place, "custom_keys", one, "")


def _kind_of(key: str, kind: str) -> str:
    """Return what a dict builds, told by its key where the part it is in does not say."""
    if key == "init_cfg":
        return "weight initializer"
    if key.endswith("dataloader"):
        return "data loader"
    if key in ("pipeline", "transforms", "switch_pipeline") or (key == "transform" and kind == "transform"):
        return "transform"
    if key == "optimizer" and kind == "part":
        return "optimizer"
    return kind


def _misspelt_sections(cfg: Mapping) -> Iterator[str]:
    """Yield top-level keys that are nearly one of the Runner's."""
    known = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}
    for key in cfg:
        if key not in known and len(key) > 6 and (meant := near(key, known)) and not key.startswith(f"{meant}_"):
            yield f"nothing reads the key {key!r}; did you mean {meant!r}?"


def _hint(key: str, known: Iterable[str]) -> str:
    return near_matches(key, known) or f"it takes {', '.join(sorted(known)) or 'none'}"


def _short(built: Any) -> str:
    return built if isinstance(built, str) else getattr(built, "__name__", str(built))
