"""What a config may say: the signature of a registered class, through its parents where it hands `**kwargs` on, and the
registries in which the name of a class is looked up.
"""
from __future__ import annotations

import functools
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from mmengine import registry as mm
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from torch import nn

from mimtransfer import registry as own
from mimtransfer.checks.values import EMPTY

# Signatures of these say less than their code takes.
_LAX = ("mmdet", "mmseg", "mmcv", "mmpretrain", "torchvision", "timm", "torch")
_PRETRAIN = (own.MASKINGS, own.CORRUPTIONS, own.TOKENIZERS, own.PATCH_FEATURES)
_PARTS = (mm.MODELS, mm.TASK_UTILS, mm.WEIGHT_INITIALIZERS, *_PRETRAIN)
_ANY = (*_PARTS, mm.TRANSFORMS, mm.DATASETS, mm.OPTIMIZERS, mm.DATA_SAMPLERS, mm.METRICS, mm.FUNCTIONS)
# What a part of a config builds -> the registries that know its names.
KINDS: dict[str, tuple[Registry, ...]] = {
    "model": _PARTS,
    "weight initializer": (mm.WEIGHT_INITIALIZERS,),
    "data set": (mm.DATASETS,),
    "transform": (mm.TRANSFORMS, *_PARTS),
    "hook": (mm.HOOKS,),
    "parameter scheduler": (mm.PARAM_SCHEDULERS,),
    "optimizer": (mm.OPTIMIZERS,),
    "optim wrapper": (mm.OPTIM_WRAPPERS,),
    "loop": (mm.LOOPS,),
    "metric": (mm.METRICS, mm.EVALUATOR),
    "visualizer": (mm.VISUALIZERS, mm.VISBACKENDS),
    "log processor": (mm.LOG_PROCESSORS,),
    "model wrapper": (mm.MODEL_WRAPPERS,),
    "sampler": (mm.DATA_SAMPLERS,),
    "collate function": (mm.FUNCTIONS,),
    "constructor": (mm.OPTIM_WRAPPER_CONSTRUCTORS,),
    "part": _ANY,
}


class Signature(NamedTuple):
    """What a class or function may be given."""

    slots: Mapping[str, tuple[Any, Any]]  # name -> (annotation, default), `EMPTY` for none
    open: bool = False  # takes other names too, and uses them itself


@functools.cache
def signature(built: Any) -> Signature:
    """Return what a class or function may be given by keyword."""
    parents = inspect.getmro(built) if inspect.isclass(built) else ()
    owners = [vars(parent)["__init__"] for parent in parents if "__init__" in vars(parent)] if parents else [built]
    slots: dict[str, tuple[Any, Any]] = {}
    handed = False  # a child that takes no *args gives its parents what they need
    for owner in owners:
        if owner in (object.__init__, nn.Module.__init__):
            break
        try:
            parameters = list(inspect.signature(owner).parameters.values())
        except (ValueError, TypeError):
            return Signature(slots, True)
        hints = _hints(owner)
        if parents:
            parameters = parameters[1:]
        for one in parameters:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                default = None if handed and one.default is EMPTY else one.default
                slots.setdefault(one.name, (hints.get(one.name, EMPTY), default))
        handed |= not any(one.kind is one.VAR_POSITIONAL for one in parameters)
        wide = [one.name for one in parameters if one.kind is one.VAR_KEYWORD]
        if not wide:
            return Signature(slots)
        source = _source(owner)
        slots = {**dict.fromkeys(_taken(source, wide[0]), (EMPTY, None)), **slots}
        skipped = re.search(r"super\((\w+), self\)\.__init__", source)
        if skipped and skipped[1] != owner.__qualname__.split(".")[0]:  # of several parents, another than the next
            return Signature({**signature(parents[1]).slots, **slots}, True)
        if not re.search(rf"super\([^)]*\)\.__init__\((?:[^()]|\([^()]*\))*\*\*{wide[0]}", source):
            return Signature(slots, True)
    return Signature(slots)


def keys_read(constructor: Any) -> set[str]:
    """Return the keys of `paramwise_cfg` that an optim wrapper constructor names in its code."""
    found: set[str] = set()
    for parent in inspect.getmro(constructor) if inspect.isclass(constructor) else ():
        if parent is not object:
            source = _source(parent)
            found |= set(re.findall(r"paramwise_cfg\.(?:get|pop)\(\s*['\"](\w+)", source))
            found |= set(re.findall(r"paramwise_cfg\[['\"](\w+)", source))
            found |= set(re.findall(r"['\"](\w+)['\"] (?:not )?in self\.paramwise_cfg", source))
            found |= set(getattr(inspect.getmodule(parent), "_KEYS", ()))
    return found


def lax(built: Any) -> bool:
    """Say whether the annotations of a class are not to be taken at their word."""
    module = str(getattr(built, "__module__", ""))
    # Our operators stand in for mmcv's, and mmengine.utils has torch's layers.
    return module.partition(".")[0] in _LAX or module.startswith(("mimtransfer.openmmlab", "mmengine.utils"))


def ours(built: Any) -> bool:
    """Say whether a class is of this project."""
    return str(getattr(built, "__module__", "")).partition(".")[0] in ("mimtransfer", "pretrain") and not lax(built)


def find(name: str, kind: str, scope: str) -> list[Any]:
    """Return what the registries of a kind know by this name in a default scope; none when it cannot be told."""
    # Only tools/pretrain.py and the doctor load the package that masking and tokenizers are in.
    loaded = "pretrain.methods" in sys.modules
    found = [_lookup(registry, name, scope) for registry in KINDS.get(kind, ()) if loaded or registry not in _PRETRAIN]
    return list(dict.fromkeys(one for one in found if one is not None))


def known_names(kind: str, scope: str) -> list[str]:
    """Return the names that a config may write for a kind without a scope in front."""
    return [name for registry in KINDS[kind][:1] for node in _lineage(registry, scope) for name in node.module_dict]


def _lookup(registry: Registry, name: str, scope: str) -> Any:
    head, dot, rest = name.partition(".")
    if not dot:
        return next((node.module_dict[name] for node in _lineage(registry, scope) if name in node.module_dict), None)
    if head != "mimtransfer" and head != "mmengine" and head not in MODULE2PACKAGE:
        return None  # the path of a module, which mmengine would import
    nodes = [node for node in _lineage(registry, head) if node.scope == head]
    return next((node.module_dict[rest] for node in nodes if rest in node.module_dict), None)


@functools.cache
def _lineage(registry: Registry, scope: str) -> tuple[Registry, ...]:
    """Return the registry of a scope and its parents, filled."""
    if scope in MODULE2PACKAGE:
        try:
            import_module(f"{scope}.registry")
        except ImportError:
            return (registry,)
    node = next((child for child in _tree(registry) if child.scope == scope), registry)
    nodes = []
    while node is not None:
        node.import_from_location()
        nodes.append(node)
        node = node.parent
    return tuple(nodes)


def _tree(registry: Registry) -> Iterable[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _tree(child)


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # names that exist for type checkers only, or in no module at all
        return {}


def _source(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return ""


def _taken(source: str, kwargs: str) -> list[str]:
    """Return the names that a function takes out of its `**kwargs` itself."""
    return re.findall(rf"{kwargs}(?:\.(?:pop|get|setdefault)\(|\[)\s*['\"](\w+)", source)
