"""What a checkpoint says of the training that wrote it, held against the config that it is tested with."""
from __future__ import annotations

import logging
import os.path as osp
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mimtransfer.checkpoints.recorded_config import read_values
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.datasets.configured import leaves
from mimtransfer.errors import UserError
from mimtransfer.results.description import protocol_of

# Of a config that options like --data have changed: what its protocol was called before.
RECIPE = "recipe"


def check_trained_with(cfg: Config, path: str, checkpoint: str | None) -> None:
    """Refuse a config that is not the one that `--data`, `--quick`, `--image-size` and the like made for the training.

    Weights of a Swin or a ResNet fit any image size, so their score would be another one than that of the model that
    was trained, under the name of the whole recipe.

    Args:
        cfg: as read from the file at `path`.
        checkpoint: of a training; None: there is none.

    Raises:
        UserError: the training had other options, or its classes another order.
    """
    if checkpoint is None:
        return
    written = osp.join(osp.dirname(checkpoint), f"own_{osp.splitext(osp.basename(path))[0]}.py")
    there = osp.isfile(written)
    given, trained = protocol_of(cfg), _protocol(checkpoint)
    if trained is not None and trained != given and trained.startswith(f"{cfg.get(RECIPE) or given}, "):
        todo = f"its training has written {written}: to test it, give that config" if there else (
            "give the config that its training has written into the work dir (own_CONFIG.py), or the options that it "
            "was trained with")
        raise UserError(f"checkpoint {checkpoint!r} was trained as {trained!r}, the config says {given!r}; {todo}")
    if there:
        print_log(f"A training with --data, --quick or the like has written {written}: to test it, give that config",
                  logger="current", level=logging.WARNING)
    classes, loader = trained_classes(checkpoint), cfg.get("test_dataloader") or {}
    for dataset in leaves(loader["dataset"]) if loader.get("dataset") else ():
        named = (dataset.get("metainfo") or {}).get("classes")
        if not classes or not isinstance(named, list | tuple):
            continue
        if list(named) != list(classes) and sorted(named) == sorted(classes):
            odd = next(pair for pair in zip(classes, named) if pair[0] != pair[1])
            raise UserError(f"checkpoint {checkpoint!r} was trained on the same classes in another order: it has "
                            f"{odd[0]!r} where test_dataloader.dataset.metainfo.classes has {odd[1]!r}; write them in "
                            "the order of the training")


def trained_classes(checkpoint: str | None) -> tuple[str, ...] | None:
    """Return the names of the classes that a checkpoint was trained on, in the order of its outputs.

    Returns:
        None where it does not say them.
    """
    said = {} if checkpoint is None else _meta(checkpoint).get("dataset_meta")
    names = {str(key).lower(): value for key, value in said.items()}.get("classes") if isinstance(said, dict) else None
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and whole else None


def _protocol(checkpoint: str) -> str | None:
    try:
        name = read_values(_meta(checkpoint)["cfg"]).get("protocol")
    except (KeyError, TypeError, ValueError, SyntaxError, AttributeError, RecursionError, MemoryError):
        return None  # of another codebase
    return name if isinstance(name, str) else None


def _meta(checkpoint: str) -> dict[str, Any]:
    meta = read_checkpoint(checkpoint).get("meta")
    return meta if isinstance(meta, dict) else {}
