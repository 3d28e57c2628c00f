"""Necks of plain ViTs. Simple feature pyramid: all levels from the last map (Li et al. 2022, arXiv 2203.16527, sec. 3).

Also registers `LN2d`, layer norm over the channels of [B, C, H, W], so that `norm_cfg=dict(type='LN2d')` works in
mmdet and mmseg heads and necks (mmcv gives it eps 1e-5; ViTDet's is 1e-6: `dict(type='LN2d', eps=1e-6)`).
"""
from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS as MMENGINE_MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS

# In mmengine's root, where mmcv's build_norm_layer looks from any default scope; `mimtransfer.LN2d` finds it there too.
MMENGINE_MODELS.register_module(name="LN2d", module=LayerNorm2d)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Make a feature pyramid out of one map.

    Per level: resize, then a 1x1 and a 3x3 convolution, each followed by LN over channels. Resizing is two
    deconvolutions for 4, one for 2, nothing for 1, max-pooling for 1/2. As in ViTDet the convolutions have no bias, the
    deconvolutions have one.

    Args:
        in_channels: Channels of the input map, the backbone's embed_dim.
        out_channels: Channels of every output map.
        scale_factors: Size of a level over the size of the input, each 4, 2, 1 or 0.5; from fine to coarse.
        num_outs: Number of output maps; those beyond `scale_factors` halve the one before.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, scale_factors: tuple[float, ...] = (4, 2, 1, 0.5),
                 num_outs: int = 5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if num_outs < len(scale_factors):
            raise UserError(f"num_outs={num_outs} of SimpleFeaturePyramid is less than its number of scale_factors, "
                            f"{len(scale_factors)}: raise it")
        self.num_outs = num_outs
        self.levels = nn.ModuleList(_level(in_channels, out_channels, scale) for scale in scale_factors)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return `num_outs` maps [B, out_channels, h*scale, w*scale] of a tuple with one map [B, in_channels, h, w].

        A side is never less than 1.
        """
        if len(inputs) != 1:
            raise UserError(f"SimpleFeaturePyramid takes one map, got {len(inputs)}: "
                            f"set out_indices=(-1,) in the backbone")
        for level in self.levels:
            if isinstance(level.resize, nn.MaxPool2d):  # a map of one row is not halved to nothing
                level.resize.ceil_mode = any(side < 2 for side in inputs[0].shape[-2:])
        outputs = [level(inputs[0]) for level in self.levels]
        while len(outputs) < self.num_outs:
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)


def _level(in_channels: int, out_channels: int, scale: float) -> nn.Sequential:
    half, quarter = in_channels // 2, in_channels // 4
    resize: nn.Module
    if scale == 4:
        channels = quarter
        resize = nn.Sequential(nn.ConvTranspose2d(in_channels, half, 2, stride=2), LayerNorm2d(half), nn.GELU(),
                               nn.ConvTranspose2d(half, quarter, 2, stride=2))
    elif scale == 2:
        channels = half
        resize = nn.ConvTranspose2d(in_channels, half, 2, stride=2)
    elif scale == 1:
        channels = in_channels
        resize = nn.Identity()
    elif scale == 0.5:
        channels = in_channels
        resize = nn.MaxPool2d(2)
    else:
        raise UserError(f"scale_factors of SimpleFeaturePyramid are 4, 2, 1 or 0.5, got {scale}")
    return nn.Sequential(OrderedDict(
        resize=resize,
        lateral=nn.Conv2d(channels, out_channels, 1, bias=False), lateral_norm=LayerNorm2d(out_channels),
        output=nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), output_norm=LayerNorm2d(out_channels)))


@MODELS.register_module()
class BatchNormMaps(BaseModule):
    """Normalise each channel of each map over a batch, before a linear head reads maps of several frozen blocks.

    Maps of blocks differ in scale, which lr and weight decay of the head would see. As a neck it is the batch norm of
    DINOv2's linear head, which has it behind the concatenation (arXiv 2304.07193, sec. 7.4, and released code).

    Args:
        channels: of each map. The norms are synchronised on several GPUs (transfer_runtime.py).
    """

    def __init__(self, channels: Sequence[int], init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return maps [B, C_i, h_i, w_i] of as many maps of the same shapes.

        Raises:
            UserError: another number of maps, or other channels.
        """
        if len(inputs) != len(self.norms):
            raise UserError(f"BatchNormMaps has channels of {len(self.norms)} maps, got {len(inputs)}: "
                            "give one for each of the backbone's out_indices")
        channels, found = [norm.num_features for norm in self.norms], [map_.shape[1] for map_ in inputs]
        if channels != found:
            raise UserError(f"BatchNormMaps has channels={channels}, got maps of {found}: give those of the backbone")
        return tuple(norm(map_) for norm, map_ in zip(self.norms, inputs))
