"""Find what makes images of another number of channels than the backbone takes, before anything is built."""
from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config

from mimtransfer.checkpoints.channels import RGB, check_in_chans
from mimtransfer.checks import FAIL, Finding
from mimtransfer.cli.bands import BACKBONES
from mimtransfer.datasets.configured import bands_of, dicts_in, is_pretraining, leaves, name_of
from mimtransfer.errors import UserError

# Of mmdet and mmseg: they stack files, or read volumes and bands.
_OTHER_READERS = ("LoadMultiChannelImageFromFiles", "LoadMultipleRSImageFromFile", "LoadBiomedicalImageFromFile")
_RGB_UNLESS_TOLD = ("ImageFolder", "ImageSource", "CIFAR10", "CIFAR100", "STL10")
_COLOUR = ("PhotoMetricDistortion", "YOLOXHSVRandomAug", "CLAHE", "RGB2Gray", "AdjustGamma")


def check_channels(cfg: Config) -> None:
    """Refuse a config that is of several numbers of channels.

    Raises:
        UserError: the first finding of `channel_findings`.
    """
    for found in channel_findings(cfg):
        raise UserError(found.line)


def channel_findings(cfg: Config) -> Iterator[Finding]:
    """Yield what in a config of any task does not fit the number of channels that its backbone takes.

    A backbone that is none of ours may take any number: nothing is said about its config.
    """
    model = cfg.get("model") or {}
    backbones = [node for node in dicts_in(model) if name_of(node) in BACKBONES]
    if not backbones:
        return
    for node in backbones:
        try:
            check_in_chans(name_of(node), node.get("in_chans", RGB))
        except UserError as error:
            what, _, fix = str(error).partition("; ")
            yield Finding(FAIL, what, fix)
            return
        if "in_chans" in (node.get("model_kwargs") or {}):
            yield Finding(FAIL, f"model_kwargs of {name_of(node)} may not hold in_chans",
                          "set it at the top of the config")
    channels = backbones[0].get("in_chans", RGB)
    task = _task(cfg)
    if channels != RGB and task in ("detection", "classification"):
        yield Finding(FAIL, f"in_chans={channels}: {task} reads RGB images only", "take in_chans=3; pretraining "
                      "by MAE, SimMIM or MFM and segmentation take 1 to 16 channels")
        return
    preprocessor = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    for key in ("mean", "std"):
        values = preprocessor.get(key)
        if isinstance(values, (list, tuple)) and len(values) != channels:
            yield Finding(FAIL, f"data_preprocessor.{key} has {len(values)} values, expected {channels}, one for each "
                          "channel" + " (RGB)" * (channels == RGB), "give as many values, or the number of channels as "
                          "in_chans at the top of the config")
    if channels not in (1, RGB) and name_of(preprocessor) == "ImgDataPreprocessor":
        yield Finding(FAIL, f"ImgDataPreprocessor normalises 1 or 3 channels, the backbone takes {channels}",
                      "set type='BandPreprocessor' and statistics='FILE' of tools/dataset_stats.py")
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader") or {}
        for dataset in leaves(loader["dataset"]) if loader.get("dataset") else ():
            if task == "pretraining" and name_of(dataset) in _RGB_UNLESS_TOLD:
                read = dataset.get("in_chans", RGB)
                if read != channels:
                    yield Finding(FAIL, f"train data: {name_of(dataset)} reads in_chans={read}, the encoder takes "
                                  f"{channels}", "set in_chans at the top of the config, and images that have so many")
            yield from _pipeline(dataset, split, channels, preprocessor)


def _pipeline(dataset: dict, split: str, channels: int, preprocessor: dict) -> Iterator[Finding]:
    steps = dataset.get("pipeline") or ()
    bands = bands_of(dataset)
    if bands not in (None, channels):
        yield Finding(FAIL, f"{split} data: LoadBands reads in_chans={bands}, the backbone takes "
                      f"{channels}", "set in_chans at the top of the config alone")
    if bands is not None and channels == RGB and preprocessor.get("bgr_to_rgb"):
        yield Finding(FAIL, f"{split} data: LoadBands keeps the order of the channels, data_preprocessor exchanges "
                      "them", "set data_preprocessor.bgr_to_rgb=False")
    for step in steps:
        name = name_of(step)
        colour = str(step.get("color_type", "color")) if isinstance(step, dict) else "color"
        if name == "LoadImageFromFile" and colour.startswith(("grayscale", "unchanged")):
            read = "1 channel" if colour.startswith("grayscale") else "as many channels as the file has"
            yield Finding(FAIL, f"{split} data: color_type={colour!r} reads {read}, the backbone takes {channels}",
                          "read them by mimtransfer.LoadBands, with in_chans at the top of the config; or leave "
                          "color_type out: grey images are then read as RGB")
        elif name == "LoadImageFromFile" and channels != RGB:
            yield Finding(FAIL, f"{split} data: LoadImageFromFile reads 3 channels, the backbone takes {channels}",
                          "read the images by mimtransfer.LoadBands")
        elif name in _OTHER_READERS and channels == RGB:
            yield Finding(FAIL, f"{split} data: {name} reads other channels than the backbone's {channels} (RGB)",
                          "read the images by mimtransfer.LoadBands")
        elif name in _COLOUR and bands is not None:
            yield Finding(FAIL, f"{split} data: {name} changes colours, for which images need 3 channels of 8 bits",
                          "remove this step")


def _task(cfg: Config) -> str:
    if is_pretraining(cfg):
        return "pretraining"
    return cfg.get("task") or {"mmdet": "detection", "mmseg": "segmentation"}.get(cfg.get("default_scope"), "")
