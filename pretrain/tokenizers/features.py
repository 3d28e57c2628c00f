"""Features of patches for k-means: what is compared when a patch is named by its nearest centroid."""
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mimtransfer.backbones.inspect import view_block
from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checkpoints.recorded_config import (
    build_recorded,
    config_in_checkpoint,
    encoder_config,
    pixel_statistics,
)
from mimtransfer.errors import UserError, near_matches
from mimtransfer.registry import MODELS, PATCH_FEATURES
from mimtransfer.training.precision import full_fp32
from pretrain.patches import patchify
from pretrain.tokenizers.base import check_file, resize


class PatchFeatures(nn.Module, ABC):
    """Map images to one vector for each patch.

    Args:
        input_size: side of the square that images are resized to; None: they stay as they are. It decides the grid.

    Attributes:
        sha256: of the file of the weights; None without weights.
    """

    sha256: str | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, input_size: int | None = None):
        super().__init__()
        self.input_size = input_size

    def forward(self, images: Tensor) -> Tensor:
        """Return [B, h, w, D] float32 of images [B, 3, H, W] float32 in [0, 1]."""
        if self.input_size:
            images = resize(images, self.input_size)
        with full_fp32():
            return self.extract(images).float()

    @abstractmethod
    def extract(self, images: Tensor) -> Tensor:
        """Return [B, h, w, D] of images of the right size."""

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and std of the channels, in [0, 1]."""
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))


@PATCH_FEATURES.register_module()
class PixelFeatures(PatchFeatures):
    """The pixels of the patches themselves: no weights, nothing to download.

    Args:
        patch_size: side in pixels.
    """

    def __init__(self, patch_size: int, input_size: int | None = None):
        super().__init__(input_size)
        self.patch_size = patch_size

    def extract(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise UserError(f"PixelFeatures: got images of {height} x {width} pixels and patch_size={self.patch_size}; "
                            "expected a multiple: change the crop size, or set input_size")
        grid = (height // self.patch_size, width // self.patch_size)
        return patchify(images, (self.patch_size, self.patch_size)).unflatten(1, grid)


@PATCH_FEATURES.register_module()
class CheckpointFeatures(PatchFeatures):
    """Patch tokens of a plain ViT that tools/pretrain.py (or tools/train.py) trained, before the final norm.

    Args:
        checkpoint: file, which holds the config, too.
        block: whose output; negative ones count from the end.

    Raises:
        UserError: the file is missing, no checkpoint of ours, or its encoder is no plain ViT.
    """

    def __init__(self, checkpoint: str, block: int = -1, input_size: int | None = None):
        super().__init__(input_size)
        check_file(checkpoint, "CheckpointFeatures", "train it with tools/pretrain.py, or give the place it has now")
        where, cfg = f"CheckpointFeatures: checkpoint {checkpoint!r}", config_in_checkpoint(checkpoint)
        config = encoder_config(cfg, where)
        if config.get("type") not in ("TimmViT", "mimtransfer.TimmViT"):
            raise UserError(f"CheckpointFeatures: {checkpoint!r} is of the encoder {str(config.get('type'))[:80]!r}, "
                            "expected a TimmViT: give a checkpoint of a plain ViT")
        self.encoder = build_recorded(MODELS, config, where, os.path.getsize(checkpoint))
        self.block = block
        if not -len(self.encoder.blocks) <= block < len(self.encoder.blocks):
            raise UserError(f"CheckpointFeatures: got block={block}, the encoder of {checkpoint!r} has "
                            f"{len(self.encoder.blocks)}")
        self.sha256 = load_backbone(self.encoder, checkpoint, same_features=True).sha256
        self.normalise_by(*([value / 255 for value in values] for values in pixel_statistics(cfg, where)))

    def extract(self, images: Tensor) -> Tensor:
        found = view_block(self.encoder, (images - self.mean) / self.std, self.block)
        return found.tokens[:, found.num_prefix_tokens :].unflatten(1, found.grid)


@PATCH_FEATURES.register_module()
class TimmFeatures(PatchFeatures):
    """The feature map of any timm model with weights from a local file.

    k-CLIP of MaPeT: `arch="resnet50x64_clip_gap", input_size=448`, whose last stage has 14 x 14 cells of width 4096.

    Args:
        arch: timm's name, without weight tag.
        checkpoint: file in timm's parameter names, e.g. `model.safetensors` of the model's page on Hugging Face.
        block: which block (ViT) or stage (CNN, Swin); negative ones count from the end.
        mean, std: of the channels, in [0, 1]; None: timm's default for the architecture.
        model_kwargs: further arguments of timm's model, e.g. `img_size`.

    Raises:
        UserError: an unknown name, or a file that is missing or of another model.
    """

    def __init__(
        self,
        arch: str,
        checkpoint: str,
        block: int = -1,
        input_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        model_kwargs: dict | None = None,
    ):
        super().__init__(input_size)
        if not timm.is_model(arch):
            raise UserError(f"TimmFeatures: timm has no {arch!r}; {near_matches(arch, timm.list_models())}")
        tag = timm.models.get_pretrained_cfg(arch)
        check_file(checkpoint, "TimmFeatures", f"download model.safetensors of https://huggingface.co/timm/"
                   f"{arch}{f'.{tag.tag}' if tag and tag.tag else ''} and put it there")
        if (model_kwargs or {}).get("in_chans", 3) != 3:
            raise UserError("TimmFeatures: got in_chans in model_kwargs; expected none, for tokenizers see RGB images")
        self.model: Any = timm.create_model(arch, pretrained=False, num_classes=0, **(model_kwargs or {}))
        self.sha256 = load_backbone(self.model, checkpoint, same_features=True).sha256
        self.block = block
        defaults: Any = self.model.pretrained_cfg
        self.normalise_by(mean or defaults["mean"], std or defaults["std"])

    def extract(self, images: Tensor) -> Tensor:
        maps = self.model.forward_intermediates(
            (images - self.mean) / self.std, indices=[self.block], output_fmt="NCHW", intermediates_only=True,
            stop_early=True,
        )  # fmt: skip
        return maps[0].permute(0, 2, 3, 1)
