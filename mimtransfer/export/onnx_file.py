"""One `model.onnx`: what has to be installed, how torch writes it, how ONNX Runtime reads it back."""
from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.errors import UserError
from mimtransfer.export.folder import need

OLDEST = 18  # the first opset that resizes with antialiasing, as positions are
TOLERANCE = 1e-4  # of the largest value
_LARGEST = 1 << 14  # pixels of a side that may vary


def check_installed(opset: int) -> None:
    """Refuse to begin without what is needed.

    Raises:
        UserError: a package is missing, torch is too old, or onnx does not know the opset.
    """
    onnx = need("onnx", "--to onnx")
    for package in ("onnxruntime", "onnxscript"):
        need(package, "--to onnx")
    if not OLDEST <= opset <= onnx.defs.onnx_opset_version():
        raise UserError(f"--opset {opset}: expected {OLDEST} to {onnx.defs.onnx_opset_version()}, which the installed "
                        "onnx knows")
    if "dynamic_shapes" not in inspect.signature(torch.onnx.export).parameters:
        raise UserError(f"--to onnx needs torch 2.6 or newer, {torch.__version__} is installed")


def check_free_size(backbone: nn.Module, path: str) -> None:
    """Refuse a free size where there are windows.

    Raises:
        UserError: the backbone has them.
    """
    if (isinstance(backbone, TimmViT) and backbone.drops_prefix) or type(backbone).__name__ == "TimmSwin":
        raise UserError(f"checkpoint {path!r}: windows are cut by the size of the images, which is fixed in an ONNX "
                        "file: leave out --dynamic-size, and give --img-size for another one")


def unfused(model: nn.Module) -> nn.Module:
    """Return a copy whose attention is written out: PyTorch's fused one takes no free number of images with a mask."""
    model = copy.deepcopy(model)
    modules: list[Any] = list(model.modules())
    for module in modules:
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return model


def write_file(model: nn.Module, images: Tensor, names: Sequence[str], opset: int, path: Path, whose: str,
               multiple: tuple[int, int] | None = None, fewest: int = 2) -> Session:
    """Write a model of one input, `images`, and open the file again. The number of images is free.

    Args:
        images: [B, C, H, W], for which it is recorded.
        names: of the outputs.
        whose: the checkpoint and what is exported of it, for the message.
        multiple: sides of the images may be any multiples of these; None for the sides of `images`.
        fewest: multiples that a side has at least.

    Raises:
        UserError: torch cannot export the model.
    """
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if multiple is not None:
        for dim, name, side in ((2, "h", multiple[0]), (3, "w", multiple[1])):
            free[dim] = side * torch.export.Dim(name, min=fewest, max=_LARGEST // side)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(model, (images,), input_names=["images"], output_names=list(names),
                                             opset_version=opset, dynamo=True, dynamic_shapes=(free,), verbose=False)
            program.save(str(path))
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            smaller = "leave out --dynamic-size, or take" if multiple is not None else "take"
            raise UserError(f"{whose} cannot be exported by torch.onnx ({reason}): {smaller} another version of "
                            "torch") from error
    need("onnx", "--to onnx").checker.check_model(str(path))
    return Session(path)


class Session:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        runtime = need("onnxruntime", "--to onnx")
        self.session: Any = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Mapping[str, Tensor]:
        """Return the outputs of images [B, C, H, W] by their names."""
        names = [output.name for output in self.session.get_outputs()]
        values = self.session.run(None, {"images": images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
