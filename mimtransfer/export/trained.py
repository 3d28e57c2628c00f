"""A trained classifier, segmentor or depth estimator as it is exported whole: built, loaded, with its image size and
the names of its classes.
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from timm.layers import to_2tuple
from torch import nn

from mimtransfer.checkpoints.formats import pretraining_of
from mimtransfer.checkpoints.load import LoadReport
from mimtransfer.checkpoints.recorded_config import build_recorded, config_in_checkpoint, pixel_statistics
from mimtransfer.checkpoints.safe_load import read_checkpoint, state_dict_of
from mimtransfer.cli import launch
from mimtransfer.datasets.configured import classes_of, is_detector, is_pretraining, leaves, name_of
from mimtransfer.errors import UserError
from mimtransfer.evaluation.classifier import Classifier
from mimtransfer.export.source import Source
from mimtransfer.files import sha256_file
from mimtransfer.registry import MODELS

# In the Hub's words.
CLASSIFICATION, SEGMENTATION, DEPTH = "image-classification", "image-segmentation", "depth-estimation"


class Trained(NamedTuple):
    """A checkpoint whose whole model was read."""

    source: Source
    model: Any  # in evaluation mode
    task: str
    classes: list[str] | None
    size: tuple[int, int]  # H, W of the images
    loads_bgr: bool  # the data set hands images to the model's preprocessor as B, G, R
    preparation: list[dict[str, Any]] | None  # what the test data pass before the model, as the config has it


def read_trained(path: str, config: str | None = None, img_size: int | tuple[int, int] | None = None) -> Trained:
    """Build the model of a checkpoint and load it wholly.

    Args:
        path: of tools/train.py, or of mmseg's own training.
        config: it was trained with. None: the one in the file, which builds only what is ours, so a classifier.
        img_size: side or (H, W) of the images; None: that of a test window, else of the training crops, else of the
            backbone.

    Raises:
        UserError: no config, one that does not fit the file, or one of another kind of model.
    """
    cfg = launch.load_config(config, []) if config else config_in_checkpoint(path)
    where = config or f"checkpoint {path!r}"
    _check_kind(cfg, where, recorded=config is None)
    if config:
        launch.enter_scope(cfg)
        cfg["model"]["backbone"].pop("init_cfg", None)  # all weights come from the checkpoint
        model: Any = ROOT_MODELS.build(cfg["model"])
    else:
        init_default_scope("mimtransfer")
        model = build_recorded(MODELS, cfg["model"], where, os.path.getsize(path))
    task = _task_of(model, where)
    launch.check_checkpoint(model, path)
    checkpoint = read_checkpoint(path)
    model.load_state_dict(state_dict_of(checkpoint, path), strict=False)  # what it has beyond the model is not needed
    report = LoadReport(path, sha256_file(path), "whole model", list(model.state_dict()), [], [], [], {},
                        pretraining_of(checkpoint))
    dataset = _tested(cfg)
    steps = list(dataset.get("pipeline") or dataset.get("transform") or ())
    rgb = getattr(model.backbone, "in_chans", 3) == 3
    source = Source(path, cfg, {}, model.backbone, report, pixel_statistics(cfg, where) if rgb else None)
    loads_bgr = rgb and task != CLASSIFICATION and "LoadBands" not in map(name_of, steps)
    return Trained(source, model.eval(), task, _classes(checkpoint, dataset if config else {}),
                   _size_of(model, img_size, where), loads_bgr, _preparation(steps))


def _check_kind(cfg: Mapping[str, Any], where: str, recorded: bool) -> None:
    if is_pretraining(cfg):
        raise UserError(f"{where}: a pretraining predicts no classes: leave out --output predictions, or give a "
                        "checkpoint of tools/train.py")
    model = cfg.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("backbone"), dict):
        raise UserError(f"{where}: its config has no model with a backbone; give a checkpoint of tools/train.py")
    if is_detector(cfg):
        raise UserError(f"{where}: a detector is not written whole: how many boxes pass its thresholds depends on the "
                        "image, and torch.onnx would keep the numbers of one; use mmdeploy, or write its backbone "
                        "(--output maps)")
    if recorded and name_of(model) != "Classifier":
        raise UserError(f"{where}: it holds the weights of {name_of(model)!r}, which no file may have built: give the "
                        "config it was trained with (--config)")


def _task_of(model: nn.Module, where: str) -> str:
    if isinstance(model, Classifier):
        return CLASSIFICATION
    if hasattr(model, "encode_decode") and hasattr(model, "decode_head"):
        return DEPTH if type(model).__name__ == "DepthEstimator" else SEGMENTATION
    raise UserError(f"{where}: a {type(model).__name__} cannot be written whole, expected a Classifier, or an "
                    "EncoderDecoder or DepthEstimator of mmseg: leave out --output predictions")


def _tested(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data set that is tested, {} where the config has none."""
    for key in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = (cfg.get(key) or {}).get("dataset")
        if isinstance(dataset, dict):
            found = next(leaves(dataset))
            return found if isinstance(found, dict) else {}
    return {}


def _classes(checkpoint: Mapping[str, Any], dataset: dict[str, Any]) -> list[str] | None:
    """Return the names that the training has written into the file, else those of the data set."""
    meta = checkpoint.get("meta")
    said = (meta.get("dataset_meta") if isinstance(meta, Mapping) else None) or {}
    names = said.get("classes") if isinstance(said, Mapping) else None
    if not isinstance(names, list | tuple):
        names = classes_of(dataset) if "type" in dataset else None
    return [str(name) for name in names] if names else None


def _size_of(model: Any, img_size: int | tuple[int, int] | None, where: str) -> tuple[int, int]:
    window = slide_of(model)
    size = to_2tuple(img_size) if img_size is not None else None
    if window is not None:
        if size not in (None, window[0]):
            raise UserError(f"{where}: its test slides a window of {window[0][0]} x {window[0][1]} pixels over the "
                            "image, and a file holds one window: leave out --img-size, or set "
                            "model.test_cfg=dict(mode='whole') in a config of your own")
        return window[0]
    size = size or getattr(model.data_preprocessor, "size", None) or getattr(model.backbone, "img_size", None)
    if size is None:
        raise UserError(f"{where}: it does not say how large its images are: give --img-size")
    height, width = to_2tuple(size)
    return int(height), int(width)


def slide_of(model: Any) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return height and width of the test window, and its strides; None for tests on whole images.

    Raises:
        UserError: the test is of another mode.
    """
    test_cfg = getattr(model, "test_cfg", None) or {}
    mode = test_cfg.get("mode", "whole")
    if mode == "whole":
        return None
    if mode != "slide":
        raise UserError(f"model.test_cfg.mode is {mode!r}, which an ONNX file cannot hold, expected 'whole' or "
                        "'slide': set it in a config of your own (--config)")
    (height, width), (down, right) = test_cfg["crop_size"], test_cfg["stride"]
    return (int(height), int(width)), (int(down), int(right))


def _preparation(steps: list[Any]) -> list[dict[str, Any]] | None:
    """Return steps between reading and packing as plain JSON."""
    kept = [step for step in steps if isinstance(step, dict) and not name_of(step).startswith(("Load", "Pack"))]
    return json.loads(json.dumps([dict(step) for step in kept], default=str)) if steps else None
