"""Find what makes images of another number of channels than the three of our backbones, before anything is built."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from mimtransfer.backbones.channels import CHANNELS, check_in_chans
from mimtransfer.checks import FAIL, Finding
from mimtransfer.datasets.configured import leaves
from mimtransfer.errors import UserError

_OURS = ("TimmViT", "TimmSwin", "TimmCNN")
# Of mmdet and mmseg: they stack files, or read volumes and bands.
_OTHER_READERS = ("LoadMultiChannelImageFromFiles", "LoadMultipleRSImageFromFile", "LoadBiomedicalImageFromFile")


def check_channels(cfg: Config) -> None:
    """Refuse a config that asks for another number of channels.

    Raises:
        UserError: the first finding of `channel_findings`.
    """
    for found in channel_findings(cfg):
        raise UserError(found.line)


def channel_findings(cfg: Config) -> Iterator[Finding]:
    """Yield what in a config of any task does not fit images of three channels.

    A backbone that is none of ours may take any number: nothing is said about its config.
    """
    model = cfg.get("model") or {}
    backbones = [node for node in _dicts(model) if _name(node) in _OURS]
    if not backbones:
        return
    for node in backbones:
        for arguments in (node, node.get("model_kwargs") or {}):
            try:
                check_in_chans(_name(node), arguments)
            except UserError as error:
                what, _, fix = str(error).partition("; ")
                yield Finding(FAIL, what, fix)
    preprocessor = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    for key in ("mean", "std"):
        values = preprocessor.get(key)
        if isinstance(values, (list, tuple)) and len(values) != CHANNELS:
            yield Finding(FAIL, f"data_preprocessor.{key} has {len(values)} values, expected {CHANNELS}, one for each "
                          "channel (RGB)", "other numbers of channels are not supported so far: give 3 values")
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader") or {}
        for dataset in leaves(loader["dataset"]) if loader.get("dataset") else ():
            yield from _pipeline(dataset, split)


def _pipeline(dataset: dict, split: str) -> Iterator[Finding]:
    for step in dataset.get("pipeline") or ():
        name = _name(step)
        colour = str(step.get("color_type", "color")) if isinstance(step, dict) else "color"
        if name == "LoadImageFromFile" and colour.startswith(("grayscale", "unchanged")):
            channels = "1 channel" if colour.startswith("grayscale") else "as many channels as the file has"
            yield Finding(FAIL, f"{split} data: color_type={colour!r} reads {channels}, the backbone takes {CHANNELS}",
                          "leave color_type out: grey images are then read as RGB")
        elif name in _OTHER_READERS:
            yield Finding(FAIL, f"{split} data: {name} reads other channels than the backbone's {CHANNELS} (RGB)",
                          "convert the images to RGB and read them by LoadImageFromFile")


def _name(node: Any) -> str:
    return str(node.get("type")).rpartition(".")[2] if isinstance(node, dict) else ""


def _dicts(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _dicts(child)
