"""Does a value of a config fit the argument it is given to: by annotation, by default, by range.

False refusals are worse than misses, so a value is refused only where the annotation or the default is plain: numbers,
booleans, texts, sequences and dictionaries of them. mmdet and mmseg are read laxly, for their annotations often say
less than their code takes.
"""
from __future__ import annotations

import collections.abc
import difflib
import inspect
import math
import types
import typing
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

EMPTY = inspect.Parameter.empty
_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_HALF_OPEN, _OPEN, _CLOSED, _ABOVE = "[)", "()", "[]", "(]"
_INF = math.inf
_HUGE = 1e19  # no count and no factor is so large, but sys.maxsize is nearly
WEIGHT_DECAY = "schedule of the weight decay"
# What is built -> argument -> lowest, highest, which of the two belong to the range. The rest have no known range.
RANGES: dict[str, dict[str, tuple[float, float, str]]] = {
    "hook": {"interval": (1, _INF, _CLOSED), "out_interval": (1, _INF, _CLOSED), "begin": (0, _INF, _CLOSED),
             "begin_iter": (0, _INF, _CLOSED), "begin_epoch": (0, _INF, _CLOSED), "momentum": (0, 1, _CLOSED),
             "patience": (0, _INF, _CLOSED), "batch_size": (1, _INF, _CLOSED), "num_images": (1, _INF, _CLOSED)},
    "parameter scheduler": {
        "begin": (0, _INF, _CLOSED), "end": (1, _INF, _CLOSED), "T_max": (1, _INF, _CLOSED),
        "start_factor": (0, 1, _ABOVE), "end_factor": (0, 1, _CLOSED), "eta_min": (0, 1e3, _CLOSED),
        "eta_min_ratio": (0, 1, _CLOSED), "gamma": (0, 1e3, _ABOVE), "power": (0, 1e3, _ABOVE),
        "step_size": (1, _INF, _CLOSED), "milestones": (0, _INF, _CLOSED), "factor": (0, 1e3, _CLOSED),
        "total_steps": (1, _INF, _CLOSED),
    },
    "optimizer": {"lr": (0, 1e4, _CLOSED), "weight_decay": (0, 1e3, _CLOSED), "betas": (0, 1, _HALF_OPEN),
                  "momentum": (0, 1, _HALF_OPEN), "eps": (0, 1, _CLOSED), "trust_coefficient": (0, 1e3, _CLOSED)},
    "loop": {"max_epochs": (1, 1e9, _CLOSED), "max_iters": (1, 1e12, _CLOSED), "val_interval": (1, _INF, _CLOSED),
             "val_begin": (0, _INF, _CLOSED)},
    "data loader": {"batch_size": (1, 1e9, _CLOSED), "num_workers": (0, 1e4, _CLOSED),
                    "prefetch_factor": (1, 1e6, _CLOSED), "timeout": (0, _INF, _CLOSED)},
    "optim wrapper": {"accumulative_counts": (1, 1e6, _CLOSED)},
    # -1 stands for the side that follows from the other one.
    "transform": {"prob": (0, 1, _CLOSED), "scale": (-1, 1e6, _CLOSED), "crop_size": (0, 1e6, _ABOVE),
                  "ratio_range": (0, 1e6, _ABOVE),
                  "cat_max_ratio": (0, 1, _ABOVE), "size": (0, 1e6, _ABOVE),
                  "img_scale": (-1, 1e6, _CLOSED)},
    "env_cfg.mp_cfg": {"opencv_num_threads": (0, 1e4, _CLOSED)},
    "clip_grad": {"max_norm": (0, 1e9, _ABOVE), "norm_type": (0, _INF, _ABOVE), "clip_value": (0, 1e9, _ABOVE)},
    "paramwise_cfg": {"layer_decay_rate": (0, 1, _ABOVE), "decay_rate": (0, 1, _ABOVE)},
    "weight initializer": {"std": (0, 1e3, _CLOSED), "gain": (0, 1e3, _CLOSED)},
    "auto_scale_lr": {"base_batch_size": (1, 1e9, _CLOSED)},
    "randomness": {"seed": (0, 2**32 - 1, _CLOSED)},
    "log processor": {"window_size": (1, _INF, _CLOSED)},
    # mmseg takes any dropout_ratio <= 0 for none.
    "model": {"drop_path_rate": (0, 1, _HALF_OPEN), "drop_rate": (0, 1, _HALF_OPEN), "dropout_ratio": (-1, 1, _CLOSED),
              "std": (0, 1e6, _OPEN), "attn_drop_rate": (0, 1, _HALF_OPEN), "norm_eps": (0, 1, _ABOVE),
              "num_classes": (1, 1e9, _CLOSED), "pad_size_divisor": (1, 1e6, _CLOSED)},
}
# A weight decay may grow, as I-JEPA's; a learning rate that ends above its peak is a mistake.
RANGES[WEIGHT_DECAY] = {**RANGES["parameter scheduler"], "eta_min_ratio": (0, 1e3, _CLOSED)}
_MISNAMED = frozenset(["loss_scale"])  # mmengine says text, and takes a number or dict(...)
_WHAT = {bool: "True or False", int: "an integer", float: "a number", str: "a text", type(None): "None"}


def misfit(name: str, value: Any, hint: Any, default: Any, kind: str, lax: bool) -> str | None:
    """Return what was expected of the argument `name`, or None where the value may fit.

    Args:
        hint, default: of the parameter, `EMPTY` where it has none.
        kind: what is built, a key of `RANGES` or any other word.
        lax: the signature is of a library whose annotations say less than its code takes.
    """
    if name in _MISNAMED:
        hint = default = EMPTY
    if hint is not EMPTY:
        if not fits(value, hint, lax) and not (value is None and (lax or default is None)):
            return f"expected {words(hint)}"
    elif default is not EMPTY and (expected := _like(value, default, name, lax)):
        return f"expected {expected}"
    if isinstance(value, list | tuple) and not value and (
        _numbers(default) or name in RANGES.get(kind, {}) or (kind == "metric" and default)
    ):
        return "expected at least one"
    if kind == "hook" and float in typing.get_args(hint):  # counts epochs or shares of the training, and checks both
        return None
    return in_range(name, value, kind)


def in_range(name: str, value: Any, kind: str) -> str | None:
    """Return the range of an argument that its value leaves, in words, else None. Lists are looked at item by item."""
    low, high, ends = RANGES.get(kind, {}).get(name, (-_INF, _INF, _CLOSED))
    for number in _flat(value):
        if isinstance(number, Real) and not isinstance(number, bool):
            number = float(number)
            if _HUGE < abs(number) < _INF:
                return f"expected a number below {_HUGE:g}"
            above = number > low if ends[0] == "(" else number >= low
            below = number < high if ends[1] == ")" else number <= high
            if not (above and below):
                left, right = (">" if ends[0] == "(" else ">="), ("<" if ends[1] == ")" else "<=")
                parts = [f"{left} {low:g}"] * (low > -_INF) + [f"{right} {high:g}"] * (high < _INF)
                return f"expected a number {' and '.join(parts)}"
    return None


def _flat(value: Any) -> collections.abc.Iterator[Any]:
    for item in value if isinstance(value, list | tuple) else ():
        yield from _flat(item)
    if not isinstance(value, list | tuple):
        yield value


def fits(value: Any, hint: Any, lax: bool = False) -> bool:
    """Say whether a value may be meant by an annotation; True where that cannot be told."""
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, item, lax) for item in items)
    if origin is typing.Literal:
        return lax or value in items
    if origin is typing.Annotated:
        return fits(value, items[0], lax)
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool) or (isinstance(value, Integral) and value in (0, 1)) or _is_array(value)
    if hint in (int, float):
        return _is_number(value, hint, lax)
    if hint is str:
        return isinstance(value, str | PurePath) or (lax and not _plain(value))
    plain = origin or hint
    if plain in _MAPPINGS or (inspect.isclass(plain) and issubclass(plain, dict)):
        several = lax and isinstance(value, list | tuple) and bool(value)
        return isinstance(value, collections.abc.Mapping) or several
    if plain is collections.abc.Callable or getattr(plain, "__name__", "") == "Tensor":
        return callable(value) or not _plain(value)
    if plain in _SEQUENCES:
        return _fits_sequence(value, plain, items, lax)
    return True


def words(hint: Any) -> str:
    """Say an annotation in words."""
    origin, items = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(words(item) for item in items))
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, items))}"
    if hint in _WHAT:
        return _WHAT[hint]
    plain = origin or hint
    if plain in _MAPPINGS or (inspect.isclass(plain) and issubclass(plain, dict)):
        return "dict(...)"
    if plain in _SEQUENCES:
        inside = next((item for item in items if item is not Ellipsis), None)
        return f"a list of {words(inside).removeprefix('a ').removeprefix('an ')}s" if inside in _WHAT else "a list"
    return getattr(plain, "__name__", str(plain))


def shown(value: Any) -> str:
    """Return a value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def near(name: str, known: collections.abc.Iterable[str], cutoff: float = 0.85) -> str | None:
    """Return the name that `name` was most likely meant to be, if any is so near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def _fits_sequence(value: Any, plain: Any, items: tuple, lax: bool) -> bool:
    inside = [item for item in items if item is not Ellipsis]
    if not isinstance(value, list | tuple | range | set):
        if isinstance(value, str):
            return plain is not list and plain is not tuple and (not inside or (lax and fits(value, inside[0], lax)))
        # A single number for a sequence of them.
        return (lax and (not inside or fits(value, inside[0], lax))) or not _plain(value)
    if not inside or (lax and any(typing.get_origin(item) in _SEQUENCES for item in inside)):
        return True
    if plain is tuple and Ellipsis not in items and not lax:
        return len(value) == len(items) and all(fits(item, hint, lax) for item, hint in zip(value, items))
    if lax:  # `Tuple[int]` for any length, `Sequence[int]` for nested ones
        value = [item for item in value if item is not None and not isinstance(item, list | tuple | dict)]
    return all(fits(item, inside[0], lax) for item in value)


def _is_number(value: Any, hint: type, lax: bool) -> bool:
    if isinstance(value, bool):
        return lax
    if isinstance(value, Real):
        return hint is float or lax or math.isinf(value) or float(value).is_integer()
    return not _plain(value) or (lax and _numbers(value))


def _numbers(value: Any) -> bool:
    """Say whether a value is a list of numbers that is not empty."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Real) for item in value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist")


def _plain(value: Any) -> bool:
    """Say whether a value is one that can be judged: not an object that a config built itself."""
    return value is None or isinstance(value, bool | Real | str | list | tuple | collections.abc.Mapping)


def _like(value: Any, default: Any, name: str, lax: bool) -> str | None:
    """Return what a parameter without annotation expects, judged by its default, or None where the value may fit."""
    if value is None or not _plain(value):
        return None
    if isinstance(default, bool):
        return None if isinstance(value, bool) or value in (0, 1) else "True or False"
    if isinstance(default, Real):
        text = isinstance(value, str) and "padding" in name
        return None if text or isinstance(value, Real) or (lax and _numbers(value)) else "a number"
    if isinstance(default, str) and not lax and isinstance(value, Real) and not isinstance(value, bool):
        return "a text"
    return "a list of numbers" if _numbers(default) and isinstance(value, str | collections.abc.Mapping) else None
