"""TimmSwin: one Swin Transformer for SimMIM pretraining (mask tokens at the stem) and transfer (maps of four stages).

Swin (Liu et al., ICCV 2021, arXiv 2103.14030), built by timm. Parameter names are timm's at the top level of the
module, and the state dict of timm's model without a head loads with strict=True; the options of transfer only add
names.
"""
import difflib
from collections.abc import Sequence
from typing import Any

import timm
from timm.layers import to_2tuple
from torch import Tensor, nn

from mimtransfer.backbones.pretrained import PretrainedBackbone
from mimtransfer.checkpoints.channels import check_channels, check_in_chans
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS

# Set by TimmSwin's own arguments, or the business of a head.
_RESERVED = ("img_size", "window_size", "drop_path_rate", "num_classes", "global_pool", "strict_img_size", "in_chans",
             "dynamic_img_size", "pretrained")


@MODELS.register_module()
class TimmSwin(PretrainedBackbone):
    """Encode whole images in stages; images of any size, padded right and bottom to what the windows need.

    To a pretraining method a *patch* is what one output token covers, 32 x 32 pixels with four stages: `embed`,
    `add_position` and `encode` are the verbs of `TimmViT`, but each patch has many stem tokens, and none can be left
    out (`needs_every_patch`).

    Stages after the last of `out_indices` do not exist, nor does the final norm then: every parameter that asks for a
    gradient gets one.

    Args:
        arch: Name of a Swin (version 1) in timm.
        img_size: Image side or (H, W) of training. Other sizes work, but here is decided which stages shift their
            windows: those whose map is larger than a window. For transfer give the training crop.
        window_size: Side of a window in tokens; None keeps the architecture's.
        out_indices: Stages whose outputs `forward` returns, in this order; negative ones count from the end.
        drop_path_rate: Drop path of the last block; it grows linearly from 0 at the first.
        out_norms: Whether the outputs of earlier stages pass norms of their own (`norm0` ...), as in the published
            detectors and segmentors; the last stage's passes the final norm in any case.
        frozen_stages: -1 trains all; n >= 0 freezes the stem and the first n stages.
        grad_checkpointing: Recompute each block in the backward pass.
        model_kwargs: Further arguments of timm's SwinTransformer, e.g. embed_dim, depths, num_heads.
        init_cfg: dict(type='Pretrained', checkpoint=PATH) loads a pretraining checkpoint; its report is `load_report`.
        in_chans: Channels of the images, 1 to 16.

    Attributes:
        patch_size: (32, 32) with four stages of a stem of 4: pixels of one output token.
        stem_grid: (8, 8): stem tokens of one patch.
        embed_dim: Width of the output.

    Raises:
        UserError: From the constructor, for a name or combination that makes no model.
    """

    num_prefix_tokens = 0
    needs_every_patch = True

    def __init__(self, arch: str = "swin_base_patch4_window7_224", img_size: int | tuple[int, int] = 224,
                 window_size: int | None = None, out_indices: tuple[int, ...] = (-1,), drop_path_rate: float = 0.0,
                 out_norms: bool = False, frozen_stages: int = -1, grad_checkpointing: bool = False,
                 model_kwargs: dict | None = None, init_cfg: dict | list[dict] | None = None,
                 in_chans: int = 3) -> None:
        super().__init__(init_cfg)
        self.arch, self.img_size = arch, tuple(to_2tuple(img_size))
        swin: Any = _build(arch, self.img_size, window_size, drop_path_rate, dict(model_kwargs or {}), in_chans)
        self.in_chans = in_chans
        # The architecture's number of stages, though there may be fewer: checkpoint.py tells a cut backbone by it.
        self.depth = len(swin.layers)
        self.out_indices = tuple(i + self.depth if i < 0 else i for i in out_indices)
        if not self.out_indices or not all(0 <= i < self.depth for i in self.out_indices):
            raise UserError(f"out_indices={tuple(out_indices)} of TimmSwin must name stages out of {self.depth}: "
                            f"0 to {self.depth - 1}, or negative")
        self.num_layers = max(self.out_indices) + 1
        if not -1 <= frozen_stages <= self.num_layers:
            raise UserError(f"frozen_stages={frozen_stages} of TimmSwin is not in -1 ... {self.num_layers}, its stages")

        side = 2 ** (self.num_layers - 1)
        self.stem_grid = (side, side)
        self.patch_size = tuple(side * stem for stem in swin.patch_embed.patch_size)
        self.grid_size = self._grid_of(self.img_size)
        self.embed_dim: int = swin.feature_info[self.num_layers - 1]["num_chs"]
        self.frozen_stages = frozen_stages

        self.patch_embed = swin.patch_embed
        self.patch_embed.dynamic_img_pad = True
        self.layers = swin.layers[: self.num_layers]
        for stage in self.layers:
            stage.grad_checkpointing = grad_checkpointing
        self.norm = swin.norm if self.num_layers == self.depth else nn.Identity()
        self.out_norms = out_norms
        if out_norms:
            for i in self.out_indices:
                if i < self.depth - 1:
                    self.add_module(f"norm{i}", type(swin.norm)(swin.feature_info[i]["num_chs"]))
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def patch_grid(self, images: Tensor) -> tuple[int, int]:
        """Return (h, w) of images [B, C, H, W]: the size of the last stage's map."""
        return self._grid_of(images.shape[-2:])

    def embed(self, images: Tensor) -> Tensor:
        """Embed images, [B, C, H, W] -> [B, L, n, D_stem]: the stem tokens of each patch, all row-major.

        Raises:
            UserError: H or W is not a multiple of the patch.
        """
        check_channels("TimmSwin", images, self.in_chans)
        (height, width), (ph, pw) = images.shape[-2:], self.patch_size
        if height % ph or width % pw:
            raise UserError(f"images of {height}x{width} are not a multiple of the patch {ph}x{pw} of TimmSwin: "
                            f"crop or resize them in the data pipeline")
        (h, w), (rows, columns) = self.patch_grid(images), self.stem_grid
        cut = self.patch_embed(images).unflatten(2, (w, columns)).unflatten(1, (h, rows))  # [B, h, r, w, c, D_stem]
        return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def add_position(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Put the tokens of `embed` where they belong on the map, [B, L, n, D_stem] -> [B, H_stem, W_stem, D_stem].

        Swin's positions are relative, inside windows: the place on the map is all the position that a token has.
        """
        cut = tokens.unflatten(2, self.stem_grid).unflatten(1, grid)  # [B, h, w, r, c, D_stem]
        return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def encode(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Run all stages and the final norm on the map of `add_position`, which has its `grid`, -> [B, L, D]."""
        return self.norm(self.layers(tokens)).flatten(1, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps [B, D_i, h_i, w_i] of images [B, C, H, W] after the stages `out_indices`, in their order."""
        check_channels("TimmSwin", images, self.in_chans)
        x = self.patch_embed(images)
        maps = {}
        for i, stage in enumerate(self.layers):
            x = stage(x)
            if i in self.out_indices:
                maps[i] = self._out_norm(i)(x).permute(0, 3, 1, 2).contiguous()
        return tuple(maps[i] for i in self.out_indices)

    def _out_norm(self, stage: int) -> nn.Module:
        if stage == self.depth - 1:
            return self.norm
        return getattr(self, f"norm{stage}") if self.out_norms else nn.Identity()

    def _grid_of(self, image_size: Sequence[int]) -> tuple[int, int]:
        height, width = (-(-side // patch) for side, patch in zip(image_size, self.patch_size))
        return height, width

    def expected_missing_keys(self) -> tuple[str, ...]:
        """Return fnmatch patterns of keys that a pretraining checkpoint may lack: the norms that transfer adds."""
        return ("norm[0-9].*",) if self.out_norms else ()

    def train(self, mode: bool = True) -> "TimmSwin":
        """Set training mode; frozen stages stay in evaluation mode (no dropout, no drop path)."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        return [] if self.frozen_stages < 0 else [self.patch_embed, *self.layers[: self.frozen_stages]]


def _build(arch: str, img_size: tuple[int, int], window_size: int | None, drop_path_rate: float,
           model_kwargs: dict, in_chans: int) -> nn.Module:
    names = timm.list_models(module="swin_transformer")
    if arch not in names:
        near = difflib.get_close_matches(arch.split(".")[0], names, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"take one of {', '.join(names)}"
        raise UserError(f"unknown arch={arch!r} of TimmSwin: {hint}")
    taken = sorted(set(_RESERVED) & set(model_kwargs))
    if taken:
        raise UserError(f"model_kwargs of TimmSwin may not hold {', '.join(taken)}: "
                        f"use the arguments of TimmSwin itself")
    check_in_chans("TimmSwin", in_chans)
    if window_size is not None:
        model_kwargs["window_size"] = window_size
    try:
        # Attention masks for the size of each batch, and no check against img_size.
        return timm.create_model(arch, pretrained=False, num_classes=0, global_pool="", img_size=img_size,
                                 strict_img_size=False, drop_path_rate=drop_path_rate, in_chans=in_chans,
                                 **model_kwargs)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"timm cannot build arch={arch!r} with img_size={img_size}, window_size={window_size}, "
                        f"model_kwargs={model_kwargs}: {reason}") from error
