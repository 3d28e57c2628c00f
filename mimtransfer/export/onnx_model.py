"""Write a backbone as `model.onnx`, with `config.json` that names its inputs and outputs, checked by ONNX Runtime.

Heads of detectors and segmentors, and what makes boxes and masks of their outputs, are not written: mmdet and mmseg
leave that to mmdeploy.
"""
from __future__ import annotations

import copy
import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.datasets.configured import is_pretraining
from mimtransfer.errors import UserError
from mimtransfer.export.folder import need, write_json
from mimtransfer.export.source import Source, check_equal, sample_images

TOLERANCE = 1e-4
_OLDEST = 18  # the first opset that resizes with antialiasing, as positions are
_LARGEST = 1 << 14  # pixels of a side that may vary


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


def write_onnx(source: Source, folder: Path, output: str = "maps", opset: int = _OLDEST,
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
    onnx, runtime = (need(package, "--to onnx") for package in ("onnx", "onnxruntime"))
    need("onnxscript", "--to onnx")
    _check(source, output, opset, onnx.defs.onnx_opset_version(), dynamic_size)
    model = Outputs(_unfused(source.backbone), output).eval()
    images, patch = sample_images(source.backbone), source.backbone.patch_size
    # Another size than the config's, so that what is recorded resamples the positions.
    larger = torch.randn(2, images.shape[1], images.shape[2] + 3 * patch[0], images.shape[3] + 5 * patch[1],
                         generator=torch.Generator().manual_seed(2))
    names = _names(model, images)
    path = folder / "model.onnx"
    _export(source, model, larger if dynamic_size else images, patch if dynamic_size else None, names, opset, path)
    onnx.checker.check_model(str(path))
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = []
    for batch in (images, images[:1], *((larger,) if dynamic_size else ())):
        with torch.no_grad():
            ours = model(batch)
        theirs = session.run(None, {"images": batch.numpy()})
        differences += [check_equal(own, torch.from_numpy(their), "ONNX Runtime", TOLERANCE)
                        for own, their in zip(ours, theirs, strict=True)]
    write_json(_config(source, names, model, images, opset, dynamic_size), folder / "config.json")
    heads = "" if _is_encoder(source) else "; the backbone alone, without the heads, which need mmdeploy"
    return f"ONNX of opset {opset}, {len(names)} x {output}; features equal to {max(differences):.0e}{heads}"


def _check(source: Source, output: str, opset: int, newest: int, dynamic_size: bool) -> None:
    backbone = source.backbone
    if not _OLDEST <= opset <= newest:
        raise UserError(f"--opset {opset}: expected {_OLDEST} to {newest}, which the installed onnx knows")
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise UserError(f"--to onnx needs torch 2.6 or newer, {torch.__version__} is installed")
    windows = isinstance(backbone, TimmViT) and backbone.drops_prefix
    if output == "tokens" and (windows or not isinstance(backbone, TimmViT)):
        raise UserError(f"checkpoint {source.path!r}: a {type(backbone).__name__} with windows, or of stages, has no "
                        "sequence of all tokens: give --output maps or pooled")
    if dynamic_size and (windows or type(backbone).__name__ == "TimmSwin"):
        raise UserError(f"checkpoint {source.path!r}: windows are cut by the size of the images, which is fixed in an "
                        "ONNX file: leave out --dynamic-size, and give --img-size for another one")


def _unfused(backbone: nn.Module) -> nn.Module:
    """Return a copy whose attention is written out: PyTorch's fused one takes no free number of images with a mask."""
    backbone = copy.deepcopy(backbone)
    modules: list[Any] = list(backbone.modules())
    for module in modules:
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return backbone


def _export(source: Source, model: nn.Module, images: Tensor, multiple: tuple[int, int] | None, names: list[str],
            opset: int, path: Path) -> None:
    """Write the file.

    Args:
        multiple: sides of the images may be any multiples of these; None for the sides of `images`.
    """
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if multiple is not None:
        for dim, name, side in ((2, "h", multiple[0]), (3, "w", multiple[1])):
            free[dim] = side * torch.export.Dim(name, min=2, max=_LARGEST // side)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(model, (images,), input_names=["images"], output_names=names,
                                             opset_version=opset, dynamo=True, dynamic_shapes=(free,), verbose=False)
            program.save(str(path))
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            raise UserError(f"checkpoint {source.path!r}: torch.onnx cannot export its "
                            f"{type(source.backbone).__name__} ({reason}): leave out --dynamic-size, or take another "
                            "version of torch") from error


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


def _is_encoder(source: Source) -> bool:
    return not source.cfg or is_pretraining(source.cfg)
