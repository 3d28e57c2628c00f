"""The data sets that a config names: unwrapped, with their classes and arguments as the class would have them."""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from mimtransfer.errors import UserError


def leaves(dataset: Any) -> Iterator[Any]:
    """Unwrap RepeatDataset, ConcatDataset, MultiImageMixDataset and their like."""
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from leaves(child)


def classes_of(dataset: dict) -> tuple[str, ...]:
    """Return the class names of a data set: the config's, else those of its class; empty when neither says."""
    names = (dataset.get("metainfo") or {}).get("classes")
    if names is None:
        names = getattr(_dataset_class(dataset), "METAINFO", {}).get("classes", ())
    return (names,) if isinstance(names, str) else tuple(names)


def argument(dataset: dict, name: str):
    """Return an argument of a data set: the config's, else the default of the nearest class that has one."""
    if name in dataset:
        return dataset[name]
    classes: tuple[Any, ...] = _dataset_class(dataset).__mro__
    for cls in classes:
        parameter = inspect.signature(cls.__init__).parameters.get(name)
        if parameter is not None:
            return parameter.default
    raise UserError(f"data set type {dataset['type']!r} has no {name!r}; set it in the config")


def _dataset_class(dataset: dict) -> type:
    from mmengine.registry import DATASETS  # 2 s, of which `leaves` has no need

    with DATASETS.switch_scope_and_registry(dataset.get("_scope_")) as registry:
        cls = registry.get(dataset["type"])
    if cls is None:
        raise UserError(f"data set type {dataset['type']!r} is not registered; check the name and custom_imports")
    return cls
