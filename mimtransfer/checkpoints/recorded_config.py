"""The config that mmengine writes into a training checkpoint, read and built without running code.

`meta['cfg']` is a Python file as text. mmengine would execute it; a checkpoint of a stranger should not be executed, so
only plain values are read here: literals and calls of `dict`. In particular `custom_imports` is not followed.

mmengine's registries import any dotted name that they do not know, so `type='os.system'` is a call. What a file names
is therefore built by `build_recorded` only, whether it is a checkpoint's config or a codebook's features.
"""
import ast
import inspect
import math
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import timm
import torch
from mmengine.config import Config
from mmengine.registry import Registry

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.registry import CORRUPTIONS, MASKINGS, MODELS, TOKENIZERS

# Where a recorded config may name another type, and in which registry it is looked for.
_PLACES = {"encoder": MODELS, "backbone": MODELS, "strategy": MASKINGS, "warmup": MASKINGS, "corruption": CORRUPTIONS,
           "tokenizer": TOKENIZERS, "data_preprocessor": MODELS}
_DECODERS = ("PixelDecoder", "CrossDecoder")  # of MAE
_ENCODERS = ("TimmViT", "TimmSwin", "TimmCNN")
_PREPROCESSORS = ("BaseDataPreprocessor", "ImgDataPreprocessor", "BandPreprocessor")
# Of timm's functions and not of a model: they would load other files, or download them.
_NOT_OF_A_MODEL = {*inspect.signature(timm.create_model).parameters, "pretrained_strict", "pretrained_filter_fn",
                   "pretrained_model_args", "features_only", "feature_cfg", "feature_cls", "model_cfg", "pruned",
                   "device", "dtype", "config"}
_LARGEST = 1 << 16  # of integers: sides, widths, depths, codes
_DEEPEST = 512  # blocks; each takes time to build
_LONGEST = 4096  # of texts and lists
_LONGEST_CONFIG = 1 << 20
POSITIONS = 1 << 26  # weights; positions for the image size that a user gives are not in the file
_IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def config_in_checkpoint(path: str | PathLike) -> Config:
    """Return the config of the run that wrote a checkpoint.

    Raises:
        UserError: the file is no checkpoint, or it holds no config, or one with other than plain values.
    """
    meta = read_checkpoint(path).get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise UserError(f"checkpoint {str(path)!r} holds no config; give the one it was trained with (--config)")
    try:
        return Config(read_values(text))
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise UserError(f"checkpoint {str(path)!r}: its config holds more than plain values; give the one it was "
                        "trained with (--config)") from error


def encoder_config(cfg: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the config of the backbone of a pretraining or transfer, without the file that it began with.

    Raises:
        UserError: there is none.
    """
    model = cfg.get("model")
    model = model if isinstance(model, dict) else {}
    config = model.get("encoder") or model.get("backbone")
    if not isinstance(config, dict):
        raise UserError(f"{where}: its config has no model with an encoder or backbone; give a checkpoint of "
                        "tools/pretrain.py or tools/train.py, or the config it was trained with")
    return {key: value for key, value in config.items() if key != "init_cfg"}


def pixel_statistics(cfg: Mapping[str, Any], where: str) -> tuple[list[float], list[float]]:
    """Return mean and std of the channels that a model's preprocessor takes, ImageNet's where it says none.

    Raises:
        UserError: they are not three numbers each, std above 0.
    """
    model = cfg.get("model")
    said = model.get("data_preprocessor") if isinstance(model, dict) else None
    said = said if isinstance(said, dict) else {}
    found = []
    for key, default in _IMAGENET.items():
        values = said.get(key) or default
        if not (isinstance(values, (list, tuple)) and len(values) == 3
                and all(_is_number(value) and (key == "mean" or value > 0) for value in values)):
            raise UserError(f"{where}: data_preprocessor.{key} is {repr(values)[:80]}, expected three numbers"
                            f"{' above 0' if key == 'std' else ''}")
        found.append([float(value) for value in values])
    return found[0], found[1]


def build_recorded(registry: Registry, config: Mapping[str, Any], where: str, num_bytes: int | None = None) -> Any:
    """Build what a file names, of plain arguments and of the registry's own classes only.

    Files that `init_cfg` names are left out: the weights come from the file itself.

    Args:
        registry: of `mimtransfer.registry`.
        where: the file, for messages.
        num_bytes: size of the file with the weights; the model's are not more. With another image size than the file's
            up to `POSITIONS` more.

    Raises:
        UserError: a type that is not registered by mimtransfer, in a place where none is expected, or an argument that
            is no plain value or far too large.
    """
    # In a process that has run mmdet or mmseg, bare names are looked up there.
    checked = check_recorded(registry, config, where) | {"_scope_": registry.scope}
    if num_bytes is not None:
        # A tokenizer would read its files twice.
        part = checked["encoder"] | {"_scope_": registry.scope} if "tokenizer" in checked else checked
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in registry.build(part).parameters())
        if size > num_bytes:
            raise UserError(f"{where}: its config is of a model of {size:,} weights, more than the file can hold")
    return registry.build(checked)


def check_recorded(registry: Registry, config: Any, where: str, place: str = "config") -> dict[str, Any]:
    """Return the config with nothing in it but what `build_recorded` builds. Raises as that."""
    if not isinstance(config, dict):
        raise UserError(f"{where}: {place} is a {type(config).__name__}, expected a dict with a type")
    name = config.get("type")
    bare = name.removeprefix("mimtransfer.") if isinstance(name, str) else None
    registry.import_from_location()
    known = list(registry.module_dict)
    if place.endswith("data_preprocessor"):
        known, bare = list(_PREPROCESSORS), bare.removeprefix("mmengine.") if bare else bare
    elif place.endswith(("encoder", "backbone")):
        known = list(_ENCODERS)
    elif place.endswith("decoder"):
        known = list(_DECODERS)
    if bare not in known:
        raise UserError(f"{where}: {place} names {repr(name)[:80]}, which a file may not build: expected one of "
                        f"{', '.join(sorted(known))}; give your own config (--config) for classes of your own")
    checked: dict[str, Any] = {"type": bare}
    for key, value in config.items():
        inner = f"{place}.{key}"
        if not isinstance(key, str) or key.startswith("_"):
            raise UserError(f"{where}: {place} has the key {repr(key)[:80]}, which a file may not set")
        if key in ("type", "init_cfg"):
            continue
        if key in _PLACES and value is not None:
            checked[key] = check_recorded(_PLACES[key], value, where, inner)
        elif key == "decoder" and isinstance(value, dict) and "type" in value:
            checked[key] = check_recorded(registry, value, where, inner)
        else:
            checked[key] = _plain(value, where, inner)
    arch = checked.get("arch", "")
    if not isinstance(arch, str) or not re.fullmatch(r"[\w.]*", arch):
        raise UserError(f"{where}: {place}.arch is {repr(arch)[:80]}, expected the name of a timm model")
    if odd := sorted(_NOT_OF_A_MODEL & set(checked.get("model_kwargs") or ())):
        raise UserError(f"{where}: {place}.model_kwargs holds {odd[0]!r}, which a file may not set")
    return checked


def _plain(value: Any, where: str, place: str, depth: int = 0) -> Any:
    """Return numbers, texts, and lists and dicts of them."""
    if value is None or isinstance(value, bool):
        return value
    if _is_number(value):
        largest = _DEEPEST if place.endswith("depth") else _LARGEST
        if isinstance(value, int) and abs(value) > largest:
            raise UserError(f"{where}: {place} is {repr(value)[:40]}, expected at most {largest}")
        return value
    if isinstance(value, str) and len(value) <= _LONGEST and value.isprintable():
        if "://" in value:
            raise UserError(f"{where}: {place} is the address {value[:80]!r}; a file may name none")
        return value
    if isinstance(value, (list, tuple, dict)) and len(value) <= _LONGEST and depth < 4:
        if isinstance(value, dict):
            if "type" in value or not all(isinstance(key, str) and not key.startswith("_") for key in value):
                raise UserError(f"{where}: {place} names {repr(value.get('type'))[:80]}, expected plain values")
            return {key: _plain(item, where, f"{place}.{key}", depth + 1) for key, item in value.items()}
        return type(value)(_plain(item, where, place, depth + 1) for item in value)
    raise UserError(f"{where}: {place} is {repr(value)[:80]} ({type(value).__name__}), expected plain numbers, texts, "
                    "lists and dicts")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def read_values(text: str) -> dict:
    """Read `name = value` lines as mmengine's `Config.pretty_text` writes them.

    Raises:
        ValueError, SyntaxError, TypeError: the text is something else.
    """
    if len(text) > _LONGEST_CONFIG:
        raise ValueError(f"{len(text):,} characters are no config")
    values = {}
    for statement in _Plain().visit(ast.parse(text)).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            raise ValueError(f"line {statement.lineno} is no name = value")
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    return values


class _Plain(ast.NodeTransformer):
    """Turn `dict(a=1)`, `dict({'a b': 1})`, `inf` and `nan` into literals; `ast.literal_eval` refuses the rest."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != "dict":
            return node
        if node.args:
            return node.args[0]
        names: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys=names, values=[keyword.value for keyword in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in ("inf", "nan"):
            return ast.Constant(float(node.id))
        return node
