"""TimmCNN: a convolutional network of timm for pretraining on whole images (MFM) and transfer (maps of its stages).

Parameter names are timm's at the top level of the module: the state dict of timm's classifier loads with strict=True
when what comes after the last map (the head) is taken out, and so do torchvision's ResNets.
"""
import difflib
import functools
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import to_2tuple
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mimtransfer.backbones.pretrained import PretrainedBackbone
from mimtransfer.checkpoints.channels import check_channels, check_in_chans
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS

# Set by TimmCNN's own arguments, or the business of a head.
_RESERVED = ("in_chans", "drop_path_rate", "num_classes", "global_pool", "features_only", "out_indices", "pretrained")
# What timm extracts features with where a model is its modules, run one after another in the order of their names.
_IN_ORDER = ("FeatureListNet", "EfficientNetFeatures", "MobileNetV3Features")


@MODELS.register_module()
class TimmCNN(PretrainedBackbone):
    """Encode whole images in stages, as timm's `features_only` models; images of any size.

    Stages are those of stride 4 and more: four of strides 4, 8, 16 and 32 in a ResNet, RegNet or ConvNeXt. To a
    pretraining method a *patch* is what one cell of the last map covers; none can be left out (`needs_every_patch`).

    What comes after the last of `out_indices` does not exist: every parameter that asks for a gradient gets one.

    Args:
        arch: Name of a convolutional network in timm, without weight tag.
        img_size: Image side or (H, W) of training. No weight depends on it.
        out_indices: Stages whose outputs `forward` returns, in this order; negative ones count from the end.
        drop_path_rate: Drop path of the last block; it grows linearly from 0 at the first.
        frozen_stages: -1 trains all; n >= 0 freezes the stem and the first n stages, with their batch statistics.
        norm_eval: Keep every BatchNorm in evaluation mode while training: batches of detection are too small for
            statistics of their own, where those of pretraining fit. Not for a random initialisation.
        model_kwargs: Further arguments of timm's model, e.g. layers=(2, 2, 2, 2) of a ResNet, output_stride=16.
        init_cfg: dict(type='Pretrained', checkpoint=PATH) loads a pretraining checkpoint; its report is `load_report`.
        in_chans: Channels of the images, 1 to 16.

    Attributes:
        patch_size: Stride of the last map, e.g. (32, 32).
        embed_dim: Channels of the last map.
        channels: Channels of the maps that `forward` returns.

    Raises:
        UserError: From the constructor, for a name or combination that makes no model.
    """

    num_prefix_tokens = 0
    needs_every_patch = True

    def __init__(self, arch: str = "resnet50", img_size: int | tuple[int, int] = 224,
                 out_indices: tuple[int, ...] = (-1,), drop_path_rate: float = 0.0, frozen_stages: int = -1,
                 norm_eval: bool = False, model_kwargs: dict | None = None,
                 init_cfg: dict | list[dict] | None = None, in_chans: int = 3) -> None:
        super().__init__(init_cfg)
        self.arch, self.img_size, self.norm_eval = arch, tuple(to_2tuple(img_size)), norm_eval
        net: Any = _build(arch, drop_path_rate, dict(model_kwargs or {}), in_chans)
        self.in_chans = in_chans
        stages = [info for info in net.feature_info if info["reduction"] >= 4]
        self.out_indices = tuple(i + len(stages) if i < 0 else i for i in out_indices)
        if not self.out_indices or not all(0 <= i < len(stages) for i in self.out_indices):
            raise UserError(f"out_indices={tuple(out_indices)} of TimmCNN must name stages out of {len(stages)}: "
                            f"0 to {len(stages) - 1}, or negative")
        # The architecture's number of stages, though there may be fewer: checkpoint.py tells a cut backbone by it.
        container = stages[-1]["module"].rpartition(".")[0]
        self.depth = len(net.get_submodule(container)) if container else len(stages)
        stages = stages[: max(self.out_indices) + 1]
        if not -1 <= frozen_stages <= len(stages):
            raise UserError(f"frozen_stages={frozen_stages} of TimmCNN is not in -1 ... {len(stages)}, its stages")
        self.frozen_stages = frozen_stages
        self.channels = tuple(stages[i]["num_chs"] for i in self.out_indices)
        self.embed_dim: int = stages[-1]["num_chs"]
        self.patch_size = (stages[-1]["reduction"],) * 2
        self.grid_size = self._grid_of(self.img_size)

        # Names and not modules, because the conversion to SyncBN puts other modules under the same names.
        self.steps = _steps(net, [stage["module"] for stage in stages])
        self.stage_ends = tuple(self.steps.index(stage["module"]) for stage in stages)
        self.steps = self.steps[: self.stage_ends[-1] + 1]
        for name, child in net.named_children():
            inside = sum(step.startswith(f"{name}.") for step in self.steps)
            if inside or name in self.steps:
                self.add_module(name, child[:inside] if inside else child)
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        """Move or cast; on a GPU weights then lie with their channels last, which its convolutions are fastest in.

        DDP lays its buckets out as the weights lie when it wraps them, so this cannot come later.
        """
        super()._apply(fn, recurse)
        if next(self.parameters()).is_cuda:
            put_channels_last(self)
        return self

    def patch_grid(self, images: Tensor) -> tuple[int, int]:
        """Return (h, w) of images [B, C, H, W] whose sides are multiples of the patch: the size of the last map."""
        return self._grid_of(images.shape[-2:])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps [B, D_i, h_i, w_i] of images [B, C, H, W] after the stages `out_indices`, in their order."""
        check_channels("TimmCNN", images, self.in_chans)
        x, outputs = images, []
        for i, name in enumerate(self.steps):
            x = self.get_submodule(name)(x)
            if i in self.stage_ends:
                outputs.append(x)
        return tuple(outputs[i] for i in self.out_indices)

    def _grid_of(self, image_size: Sequence[int]) -> tuple[int, int]:
        height, width = (-(-side // patch) for side, patch in zip(image_size, self.patch_size))
        return height, width

    def train(self, mode: bool = True) -> "TimmCNN":
        """Set training mode; frozen stages stay in evaluation mode, with `norm_eval` every BatchNorm."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        stop = self.stage_ends[self.frozen_stages - 1] + 1 if self.frozen_stages else self.stage_ends[0]
        return [self.get_submodule(name) for name in self.steps[:stop]]


def put_channels_last(module: nn.Module) -> None:
    """Let the weights of 2-d convolutions lie with their channels last; their outputs follow. Values stay.

    Gradients and what an optimizer keeps lie as the weights do. Checkpoints load either way.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _steps(net: nn.Module, stages: list[str]) -> tuple[str, ...]:
    """Return the names of modules to run one after another: children, those of a Sequential of stages one by one."""
    steps = []
    for name, child in net.named_children():
        whole = name in stages or not isinstance(child, nn.Sequential)
        steps += [name] if whole else [f"{name}.{inner}" for inner, _ in child.named_children()]
    return tuple(steps)


def _build(arch: str, drop_path_rate: float, model_kwargs: dict, in_chans: int) -> nn.Module:
    names = timm.list_models()
    if arch not in names:
        near = difflib.get_close_matches(arch.split(".")[0], names, n=3, cutoff=0.5)
        raise UserError(f"unknown arch={arch!r} of TimmCNN: "
                        + (f"did you mean {', '.join(near)}?" if near else "timm.list_models('resn*') lists names"))
    taken = sorted(set(_RESERVED) & set(model_kwargs))
    if taken:
        raise UserError(f"model_kwargs of TimmCNN may not hold {', '.join(taken)}: "
                        f"use the arguments of TimmCNN itself")
    check_in_chans("TimmCNN", in_chans)
    if not runs_in_order(arch):
        raise UserError(f"arch={arch!r} is no convolutional network of stages that run one after another: take e.g. "
                        "'resnet50', 'regnety_016' or 'convnext_tiny'; for others there are TimmViT and TimmSwin")
    if drop_path_rate:
        model_kwargs["drop_path_rate"] = drop_path_rate  # few know it
    try:
        return timm.create_model(arch, pretrained=False, num_classes=0, global_pool="", in_chans=in_chans,
                                 **model_kwargs)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"timm cannot build arch={arch!r} with model_kwargs={model_kwargs}: {reason}") from error


@functools.cache
def runs_in_order(arch: str) -> bool:
    """Say whether a model of timm is a convolutional network whose stages run one after another."""
    try:
        with torch.device("meta"):  # draws no weights
            features: Any = timm.create_model(arch, features_only=True)
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False  # timm knows no stages of it
    is_map = str(getattr(features, "output_fmt", "NCHW")).endswith("NCHW")  # Swin has channels last
    return type(features).__name__ in _IN_ORDER and is_map and features.feature_info.reduction()[-1] >= 4
