"""Write a whole model as `model.onnx`: from the pixels of an image to logits, class maps or depth.

Pixels are normalised in the graph, so a program needs no more than the image, resized: [B, 3, H, W] float32, R G B in
0 ... 255. It is compared with what `tools/test.py` runs: the model's own preprocessor and its `test_step`.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from timm.layers import to_2tuple
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.export.folder import write_json
from mimtransfer.export.onnx_file import OLDEST, TOLERANCE, check_free_size, check_installed, unfused, write_file
from mimtransfer.export.onnx_free_sizes import free_sizes
from mimtransfer.export.source import check_equal
from mimtransfer.export.trained import CLASSIFICATION, DEPTH, Trained, slide_of

# Multiples of the patch: necks halve maps twice, and treat smaller ones in another way.
_FEWEST = 4


class Pixels(nn.Module):
    """What the data set and the model's preprocessor make of an image, without padding.

    Args:
        preprocessor: of mmengine or mmseg.
        loads_bgr: the data set hands it images as B, G, R.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessor: Any, loads_bgr: bool) -> None:
        super().__init__()
        converts = bool(getattr(preprocessor, "channel_conversion", False)
                        or getattr(preprocessor, "_channel_conversion", False))
        self.flips = converts != loads_bgr
        self.normalises = bool(getattr(preprocessor, "_enable_normalize", False))
        if self.normalises:
            self.register_buffer("mean", preprocessor.mean.detach().clone())
            self.register_buffer("std", preprocessor.std.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return what the backbone takes of images [B, C, H, W], R G B in 0 ... 255."""
        if self.flips:
            images = images[:, [2, 1, 0]]
        return (images - self.mean) / self.std if self.normalises else images


class Predictions(nn.Module):
    """A model from pixels to what it predicts."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.model: Any = unfused(trained.model)
        self.pixels = Pixels(trained.model.data_preprocessor, trained.loads_bgr)
        self.task = trained.task
        self.is_binary = trained.task not in (CLASSIFICATION, DEPTH) and self.model.out_channels == 1

    @property
    def names(self) -> list[str]:
        """Names of the outputs."""
        if self.task == CLASSIFICATION:
            return ["logits"]
        return ["depth"] if self.task == DEPTH else ["probabilities" if self.is_binary else "logits", "class_map"]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for images [B, C, H, W]: logits [B, classes]; or logits [B, classes, H, W] and the class
        map [B, H, W] int64 (of a model of one output channel its sigmoid, and where it is above the threshold); or
        metres [B, 1, H, W].
        """
        images = self.pixels(images)
        if self.task == CLASSIFICATION:
            return (self.model(images),)
        size = images.shape[2:]
        values = self.model.encode_decode(images, [dict(img_shape=size, ori_shape=size, pad_shape=size)])
        if self.task == DEPTH:
            return (values,)
        if self.is_binary:
            values = values.sigmoid()
            return values, (values[:, 0] > self.model.decode_head.threshold).long()
        return values, values.argmax(1)


def write_predictions(trained: Trained, folder: Path, opset: int = OLDEST, dynamic_size: bool = False) -> str:
    """Write `model.onnx` and `config.json` into a folder, run it and compare.

    Args:
        opset: version of the operators.
        dynamic_size: images may have any size of at least 4 patches that is a multiple of the patch; else
            `trained.size`. The number of images is free in any case.

    Returns:
        A line that says what was written.

    Raises:
        UserError: a package is missing, or the model cannot be exported so.
    """
    check_installed(opset)
    multiple = _multiple(trained)
    window = None if trained.task == CLASSIFICATION else slide_of(trained.model)
    if dynamic_size:
        check_free_size(trained.model.backbone, trained.source.path)
        if window:
            raise UserError(f"checkpoint {trained.source.path!r}: its test slides a window of {window[0][0]} x "
                            f"{window[0][1]} pixels, which is the size of the file: leave out --dynamic-size, or set "
                            "model.test_cfg=dict(mode='whole') in a config of your own")
    model = Predictions(trained).eval()
    height, width = trained.size
    batches = [_noise_images(trained, height, width)]
    if dynamic_size:
        free_sizes(model)
        rows, columns = (max(-(-side // step), _FEWEST) for side, step in zip(trained.size, multiple))
        batches = [_noise_images(trained, (rows + down) * multiple[0], (columns + right) * multiple[1])
                   for down, right in ((0, 0), (3, 5), (2, 1))]
    for batch in batches:
        _check_padding(trained, batch)
    whose = f"checkpoint {trained.source.path!r}: its {type(trained.model).__name__}"
    # Recorded for sides that differ: of equal ones torch would not know that they may.
    session = write_file(model, batches[-2 if dynamic_size else 0], model.names, opset, folder / "model.onnx", whose,
                         multiple if dynamic_size else None, _FEWEST)
    differences = [_compare(trained, batch, session(batch)) for batch in (*batches, batches[0][:1])]
    write_json(_config(trained, model, batches[0], opset, dynamic_size, multiple, window), folder / "config.json")
    size = "any size" if dynamic_size else f"{height} x {width}"
    note = "" if window is None else f"; one window of its slide test, stride {window[1][0]} x {window[1][1]}"
    return (f"Predictions in ONNX of opset {opset}, {type(trained.model).__name__}, images of {size}, "
            f"{' and '.join(model.names)}; equal to {max(differences):.0e}{note}")


def _multiple(trained: Trained) -> tuple[int, int]:
    height, width = to_2tuple(getattr(trained.model.backbone, "patch_size", 32))
    return int(height), int(width)


def _noise_images(trained: Trained, height: int, width: int) -> Tensor:
    """Return two images of noise [2, C, H, W], integers of 0 ... 255 as float32."""
    channels = getattr(trained.model.backbone, "in_chans", 3)
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(256, (2, channels, height, width), generator=generator).float()


@torch.no_grad()
def as_tested(trained: Trained, images: Tensor) -> list[Tensor]:
    """Return what the model itself predicts, in the order of `Predictions.names`, by its preprocessor and `test_step`.

    Args:
        images: [B, C, H, W], R G B in 0 ... 255.
    """
    data = _as_loaded(trained, images)
    found = trained.model.test_step(data)
    if trained.task == CLASSIFICATION:
        return [torch.stack([one["pred_score"] for one in found])]
    if trained.task == DEPTH:
        return [torch.stack([one.pred_depth_map.data for one in found])]
    return [torch.stack([one.seg_logits.data for one in found]),
            torch.stack([one.pred_sem_seg.data[0] for one in found]).long()]


def _as_loaded(trained: Trained, images: Tensor) -> dict[str, Any]:
    """Return images as the data set hands them to the preprocessor."""
    inputs = list(images[:, [2, 1, 0]] if trained.loads_bgr else images)
    if trained.task == CLASSIFICATION:
        return dict(inputs=inputs, label=torch.zeros(len(images), dtype=torch.long))
    size = tuple(images.shape[2:])
    return dict(inputs=inputs, data_samples=[
        BaseDataElement(metainfo=dict(img_shape=size, ori_shape=size)) for _ in inputs])


def _check_padding(trained: Trained, images: Tensor) -> None:
    """Refuse a size that the preprocessor pads in a test: the graph would see other images."""
    size, padded = (list(batch.shape[2:]) for batch in (
        images, trained.model.data_preprocessor(_as_loaded(trained, images), False)["inputs"]))
    if size != padded:
        raise UserError(f"checkpoint {trained.source.path!r}: its preprocessor pads test images of {size[0]} x "
                        f"{size[1]} pixels to {padded[0]} x {padded[1]}: give --img-size {padded[0]} {padded[1]}, and "
                        "no --dynamic-size")


def _compare(trained: Trained, images: Tensor, theirs: Mapping[str, Tensor]) -> float:
    ours, (values, *maps) = as_tested(trained, images), theirs.values()
    difference = check_equal(ours[0], values, "ONNX Runtime", TOLERANCE, "predictions")
    for own, their in zip(ours[1:], maps, strict=True):
        # Where two classes are as good as equal, rounding decides.
        best = ours[0].topk(min(2, ours[0].shape[1]), 1).values
        margin = (best[:, 0] - best[:, 1] if best.shape[1] > 1
                  else (best[:, 0] - trained.model.decode_head.threshold).abs())
        clear = margin > 2 * TOLERANCE * ours[0].abs().max()
        if own.shape != their.shape or not torch.equal(own[clear], their[clear]):
            raise UserError("ONNX Runtime finds other classes than the checkpoint's model; nothing was written")
    return difference


@torch.no_grad()
def _config(trained: Trained, model: Predictions, images: Tensor, opset: int, dynamic_size: bool,
            multiple: tuple[int, int], window: Any) -> dict[str, Any]:
    """Say what a program must know that runs the file."""
    sides: list[Any] = ["height", "width"] if dynamic_size else list(trained.size)
    outputs = [{"name": name, "dtype": str(value.dtype).removeprefix("torch."),
                "shape": ["batch", *value.shape[1:-2], *sides] if value.ndim > 2 else ["batch", value.shape[1]]}
               for name, value in zip(model.names, model(images[:1]))]
    pixels = model.pixels
    numbers = [[float(f"{value:.7g}") for value in values.flatten().tolist()]  # float32 holds no more digits
               for values in (pixels.mean, pixels.std)] if pixels.normalises else []
    mean, std = (values[::-1] if pixels.flips else values for values in numbers) if numbers else (None, None)
    is_rgb = images.shape[1] == 3
    return {
        "task": trained.task, "opset": opset,
        "input": {"name": "images", "dtype": "float32", "shape": ["batch", images.shape[1], *sides],
                  "multiple_of": list(multiple) if dynamic_size else None,
                  "channels": "RGB" if is_rgb else "as in the files", "range": [0, 255] if is_rgb else None},
        "normalisation": {"in_the_graph": True, "mean": mean, "std": std},
        "preparation": trained.preparation, "classes": trained.classes, "outputs": outputs,
        "slide": window and {"window": list(window[0]), "stride": list(window[1])},
    }
