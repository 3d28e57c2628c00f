"""What a checkpoint says of the training that wrote it, held against the config that it is tested with."""
from __future__ import annotations

import logging
import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.class_names import class_names
from mimtransfer.datasets.configured import classes_of, leaves, name_of
from mimtransfer.datasets.tree import some
from mimtransfer.errors import UserError
from mimtransfer.results.description import protocol_of

# Of a config that options like --data have changed: what its protocol was called before.
RECIPE = "recipe"


def own_config(work_dir: str, config: str) -> str:
    """Return where a training with `--data`, `--quick` and the like writes the config that it made of another."""
    return osp.join(work_dir, f"own_{osp.splitext(osp.basename(config))[0]}.py")


def check_trained_with(cfg: Config, path: str, checkpoint: str | None) -> None:
    """Refuse a config that is not the one that `--data`, `--quick`, `--image-size` and the like made for the training.

    Weights of a Swin or a ResNet fit any image size, so their score would be another one than that of the model that
    was trained, under the name of the whole recipe.

    Args:
        cfg: as read from the file at `path`, its scope entered (`launch.enter_scope`).
        checkpoint: of a training; None: there is none.

    Raises:
        UserError: the training had other options, other classes, or these in another order.
    """
    if checkpoint is None:
        return
    written, meta = own_config(osp.dirname(checkpoint), path), _meta(checkpoint)
    there = osp.isfile(written)
    given, trained = protocol_of(cfg), _protocol(meta)
    if trained is not None and trained != given and trained.startswith(f"{cfg.get(RECIPE) or given}, "):
        todo = f"its training has written {written}: to test it, give that config" if there else (
            "give the config that its training has written into the work dir (own_CONFIG.py), or the options that it "
            "was trained with")
        raise UserError(f"checkpoint {checkpoint!r} was trained as {trained!r}, the config says {given!r}; {todo}")
    if there:
        print_log(f"A training with --data, --quick or the like has written {written}: to test it, give that config",
                  logger="current", level=logging.WARNING)
    classes, loader = _classes(meta), cfg.get("test_dataloader") or {}
    for dataset in leaves(loader["dataset"]) if classes and loader.get("dataset") else ():
        key, named = _numbered_classes(dataset)
        if classes and len(named) == len(classes):  # another number does not fit the heads, which others check
            _check_classes(checkpoint, classes, f"test_dataloader.dataset{key}", named)


def _check_classes(checkpoint: str, trained: Sequence[str], key: str, named: Sequence[str]) -> None:
    """Refuse a checkpoint whose outputs mean other classes than the labels of the data: any weights of as many fit."""
    common = set(trained) & set(named)
    if not common:
        raise UserError(f"checkpoint {checkpoint!r} was trained on other classes: {some(list(trained))}; {key} has "
                        f"{some(list(named))}; give the checkpoint and the config of one training")
    pairs = [pair for pair in zip(trained, named) if pair[0] != pair[1]]
    moved = [pair for pair in pairs if common & set(pair)]
    if moved:
        raise UserError(f"checkpoint {checkpoint!r} was trained on its classes in another order: it has "
                        f"{moved[0][0]!r} where {key} has {moved[0][1]!r}; write them in the order of the training")
    if pairs:
        print_log(f"checkpoint {checkpoint!r} calls {pairs[0][0]!r} what {key} calls {pairs[0][1]!r}; a score holds "
                  "only where both mean the same class", logger="current", level=logging.WARNING)


def _numbered_classes(dataset: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return what a data set numbers its labels by, in this order, and the key behind `dataset` that says so."""
    if (dataset.get("metainfo") or {}).get("classes") is not None:
        return ".metainfo.classes", classes_of(dataset)
    if name_of(dataset) == "ClassFolder":
        given, root = dataset.get("trained_classes"), str(dataset.get("root"))
        if given is not None:
            return ".trained_classes", tuple(given if dataset.get("in_order") else class_names(given))
        folders = [entry.name for entry in os.scandir(root) if entry.is_dir()] if osp.isdir(root) else []
        return ".root", tuple(sorted(name for name in folders if not name.startswith(".")))
    return "", classes_of(dataset) if dataset.get("type") else ()


def trained_classes(checkpoint: str | None) -> tuple[str, ...] | None:
    """Return the names of the classes that a checkpoint was trained on, in the order of its outputs.

    Returns:
        None where it does not say them.
    """
    return None if checkpoint is None else _classes(_meta(checkpoint))


def _classes(meta: dict[str, Any]) -> tuple[str, ...] | None:
    said = meta.get("dataset_meta")
    names = {str(key).lower(): value for key, value in said.items()}.get("classes") if isinstance(said, dict) else None
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and whole else None


def _protocol(meta: dict[str, Any]) -> str | None:
    try:
        name = read_values(meta["cfg"]).get("protocol")
    except (KeyError, TypeError, ValueError, SyntaxError, AttributeError, RecursionError, MemoryError):
        return None  # of another codebase
    return name if isinstance(name, str) else None


def _meta(checkpoint: str) -> dict[str, Any]:
    meta = read_checkpoint(checkpoint).get("meta")
    return meta if isinstance(meta, dict) else {}
