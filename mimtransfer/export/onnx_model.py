"""Write a backbone as `model.onnx`, with `config.json` that names its inputs and outputs, checked by ONNX Runtime.

Whole models, from pixels to predictions: `onnx_predictions.py`.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.datasets.configured import is_detector, is_pretraining
from mimtransfer.errors import UserError
from mimtransfer.export.folder import write_json
from mimtransfer.export.onnx_file import OLDEST, TOLERANCE, check_free_size, check_installed, unfused, write_file
from mimtransfer.export.source import Source, check_equal, sample_images


class Outputs(nn.Module):
    """A backbone that returns what is exported.

    Args:
        output: `maps`, those that the backbone returns; `tokens`, all after the final norm, prefix tokens first; or
            `pooled`, the class token, the mean of the patches where there is none.
    """

    def __init__(self, backbone: nn.Module, output: str) -> None:
        super().__init__()
        self.backbone, self.output = backbone, output

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps [B, D, h, w], tokens [B, P+L, D] or [B, D] of images [B, C, H, W]."""
        backbone: Any = self.backbone
        if self.output == "maps" or not isinstance(backbone, TimmViT) or backbone.drops_prefix:
            maps = backbone(images)
            return maps if self.output == "maps" else (maps[-1].mean((2, 3)),)
        grid = backbone.patch_grid(images)
        tokens = backbone.encode(backbone.add_position(backbone.embed(images), grid), grid)
        if self.output == "tokens":
            return (tokens,)
        return (tokens[:, 0] if backbone.cls_token is not None else tokens[:, backbone.num_prefix_tokens:].mean(1),)


def write_onnx(source: Source, folder: Path, output: str = "maps", opset: int = OLDEST,
               dynamic_size: bool = False) -> str:
    """Write `model.onnx` and `config.json` into a folder, run it and compare.

    Args:
        output: see `Outputs`.
        opset: version of the operators.
        dynamic_size: images may have any size that is a multiple of the patch; else that of the config. The number of
            images is free in any case.

    Returns:
        A line that says what was written.

    Raises:
        UserError: a package is missing, or the backbone cannot be exported so.
    """
    check_installed(opset)
    _check(source, output, dynamic_size)
    model = Outputs(source.backbone, output).eval()
    images, patch = sample_images(source.backbone), source.backbone.patch_size
    # Another size than the config's, so that what is recorded resamples the positions.
    larger = torch.randn(2, images.shape[1], images.shape[2] + 3 * patch[0], images.shape[3] + 5 * patch[1],
                         generator=torch.Generator().manual_seed(2))
    names = _names(model, images)
    whose = f"checkpoint {source.path!r}: its {type(source.backbone).__name__}"
    session = write_file(unfused(model), larger if dynamic_size else images, names, opset, folder / "model.onnx", whose,
                         patch if dynamic_size else None)
    differences = []
    for batch in (images, images[:1], *((larger,) if dynamic_size else ())):
        with torch.no_grad():
            ours = model(batch)
        theirs = session(batch)
        differences += [check_equal(own, theirs[name], "ONNX Runtime", TOLERANCE)
                        for name, own in zip(names, ours, strict=True)]
    write_json(_config(source, names, model, images, opset, dynamic_size), folder / "config.json")
    return f"ONNX of opset {opset}, {len(names)} x {output}; features equal to {max(differences):.0e}{_heads(source)}"


def _check(source: Source, output: str, dynamic_size: bool) -> None:
    backbone = source.backbone
    windows = isinstance(backbone, TimmViT) and backbone.drops_prefix
    if output == "tokens" and (windows or not isinstance(backbone, TimmViT)):
        raise UserError(f"checkpoint {source.path!r}: a {type(backbone).__name__} with windows, or of stages, has no "
                        "sequence of all tokens: give --output maps or pooled")
    if dynamic_size:
        check_free_size(backbone, source.path)


@torch.no_grad()
def _names(model: Outputs, images: Tensor) -> list[str]:
    if model.output != "maps":
        return [model.output]
    return [f"map{i}" for i in range(len(model(images)))]


@torch.no_grad()
def _config(source: Source, names: list[str], model: Outputs, images: Tensor, opset: int,
            dynamic_size: bool) -> dict[str, Any]:
    """Say what a program must know that runs the file."""
    sides = ["height", "width"] if dynamic_size else list(images.shape[2:])
    mean, std = ([value / 255 for value in values] for values in source.pixels or ((), ()))
    patch = list(source.backbone.patch_size)
    outputs = []
    for name, value in zip(names, model(images)):
        if value.ndim == 4:
            strides = [side // cells for side, cells in zip(images.shape[2:], value.shape[2:])]
            outputs.append({"name": name, "channels": value.shape[1], "strides": strides})
        else:
            outputs.append({"name": name, "channels": value.shape[-1]})
    return {"opset": opset, "input": {"name": "images", "dtype": "float32", "multiple_of": patch,
                                      "shape": ["batch", images.shape[1], *sides]},
            "pixels": {"range": [0, 1], "mean": mean, "std": std} if mean else None, "outputs": outputs}


def _heads(source: Source) -> str:
    if not source.cfg or is_pretraining(source.cfg):
        return ""
    if is_detector(source.cfg):
        return "; the backbone alone, without the heads, which need mmdeploy"
    return "; the backbone alone, --output predictions writes the heads, too"
