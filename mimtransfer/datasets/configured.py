"""What a config holds: its dicts, at any depth; its data sets, unwrapped, with classes and arguments of their class."""
from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mimtransfer.checkpoints.channels import RGB
from mimtransfer.errors import UserError

# Arguments that keep a part of the images: of mmengine's data sets, of ours for classification, of `LabelSubset`.
_PARTIAL = ("indices", "fraction", "num_images", "images_per_class", "list_file", "share", "shots")


def dicts_in(node: Any) -> Iterator[dict]:
    """Yield every dict of a config, or of a part of it, outer ones before inner ones, in their order."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from dicts_in(child)


def is_pretraining(cfg: Mapping) -> bool:
    """Say whether a config pretrains an encoder; a DETR has an encoder, too, behind its backbone."""
    model = cfg.get("model") or {}
    return "encoder" in model and "backbone" not in model


def is_detector(cfg: Mapping) -> bool:
    """Say whether a config's model is one of mmdet: boxes or masks of objects come out of these heads."""
    return any(head in (cfg.get("model") or {}) for head in ("bbox_head", "roi_head", "rpn_head", "panoptic_head"))


def leaves(dataset: Any) -> Iterator[Any]:
    """Unwrap RepeatDataset, ConcatDataset, MultiImageMixDataset and their like."""
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from leaves(child)


def keeps_a_part(dataset: Any) -> bool:
    """Say whether a data set, or one inside of it, is said to keep a part of its images, whichever."""
    return any(node.get(key) is not None for node in dicts_in(dataset) for key in _PARTIAL)


def classes_of(dataset: dict) -> tuple[str, ...]:
    """Return the class names of a data set: the config's, else those of its class; empty when neither says.

    Raises:
        UserError: the config has a text in place of them, as `classes=('x')` is without a comma; it may name a file
            with a class name a line.
    """
    names = (dataset.get("metainfo") or {}).get("classes")
    if isinstance(names, str):
        if not os.path.isfile(names):  # mmdet and mmseg would take its letters for classes, or parts of it
            raise UserError(f"metainfo.classes is the text {names!r}, expected a tuple of names; write "
                            f"classes=({names!r},) with a comma")
        with open(names, encoding="utf-8") as file:
            names = [line.rstrip("\r\n") for line in file]
    return own_classes(dataset) if names is None else tuple(names)


def own_classes(dataset: dict) -> tuple[str, ...]:
    """Return the class names of a data set's class; empty when it has none."""
    return tuple(getattr(dataset_class(dataset), "METAINFO", {}).get("classes", ()))


def argument(dataset: dict, name: str):
    """Return an argument of a data set: the config's, else the default of the nearest class that has one."""
    if name in dataset:
        return dataset[name]
    classes: tuple[Any, ...] = dataset_class(dataset).__mro__
    for cls in classes:
        parameter = inspect.signature(cls.__init__).parameters.get(name)
        if parameter is not None:
            return parameter.default
    raise UserError(f"data set type {dataset['type']!r} has no {name!r}; set it in the config")


def name_of(node: Any) -> str:
    """Return the name of the class that a dict of a config builds, without its scope; "" where it names none."""
    return str(node.get("type")).rpartition(".")[2] if isinstance(node, dict) else ""


def bands_of(dataset: dict) -> int | None:
    """Return how many channels a pipeline reads by `LoadBands`; None: it reads RGB by `LoadImageFromFile`."""
    steps = dataset.get("pipeline") or ()
    return next((step.get("in_chans", RGB) for step in steps if name_of(step) == "LoadBands"), None)


def max_corrupt(dataset: dict) -> int:
    """Return from how many unreadable images a data set goes on."""
    steps = [step for step in dataset.get("pipeline") or () if isinstance(step, dict)]
    return max([dataset.get("max_corrupt") or 0, *(step.get("max_corrupt") or 0 for step in steps)])


def set_max_corrupt(loader: dict, number: int | None) -> None:
    """Let the data sets of a loader go on from so many unreadable images each; None: as the config has it.

    Raises:
        UserError: a negative number, or a data set that reads by other steps and does not take the argument.
    """
    if number is None:
        return
    if number < 0:
        raise UserError(f"--max-corrupt {number}: expected an integer >= 0")
    for dataset in leaves(loader["dataset"]):
        names = [(str(step.get("type")).rpartition(".")[2], step) for step in dataset.get("pipeline") or ()]
        steps = [step for name, step in names if name in ("LoadImageFromFile", "LoadBands")]
        for step in steps:
            step["max_corrupt"] = number
        if not steps:
            argument(dataset, "max_corrupt")
            dataset["max_corrupt"] = number


def dataset_class(dataset: dict) -> type:
    from mmengine.registry import DATASETS  # 2 s, of which `leaves` has no need

    with DATASETS.switch_scope_and_registry(dataset.get("_scope_")) as registry:
        cls = registry.get(dataset["type"])
    if cls is None:
        raise UserError(f"data set type {dataset['type']!r} is not registered; check the name and custom_imports")
    return cls
