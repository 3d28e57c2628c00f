"""Depth by a linear layer on frozen patch tokens, as DINOv2's probes (Oquab et al., arXiv 2304.07193, sec. 7.4).

Depth is the expectation over 256 equal bins, whose shares are made from the layer's outputs linearly, as AdaBins does
(Bhat et al., arXiv 2011.14141). Departures: no class token beside each patch token; batch norm (`BatchNormMaps`, before
the head) sees the tokens before they are upsampled; the loss in the configs is mmseg's SiLogLoss alone, which takes off
half of the squared mean where DINOv2's takes 0.85, and there is no loss of gradients.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS


@MODELS.register_module()
class LinearDepthHead(BaseModule):
    """Predict metres from maps of a backbone; a decode head of mmseg's `DepthEstimator`.

    Args:
        in_channels: channels of each map; the maps have one size and are put side by side.
        min_depth: metres, of the first bin.
        max_depth: metres, of the last bin. Labels beyond it count as absent in training.
        num_bins: depths that are weighted.
        upsample: the size of the depth map over that of the backbone's, before it is resized to the image.
        loss_decode: loss of depth maps [B, 1, H, W] in metres, where 0 in the labels is no label; it takes weights [B]
            of the images and their sum, as mmseg's SiLogLoss does.

    Raises:
        UserError: depths or a number of bins that make no range.
    """

    num_classes = out_channels = 1
    align_corners = False

    def __init__(
        self,
        in_channels: Sequence[int],
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        num_bins: int = 256,
        upsample: int = 4,
        loss_decode: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg or dict(type="Normal", std=0.01, override=dict(name="conv_depth")))
        if not 0 < min_depth < max_depth or num_bins < 2:
            raise UserError(f"LinearDepthHead: got min_depth={min_depth}, max_depth={max_depth}, num_bins={num_bins}, "
                            "expected 0 < min_depth < max_depth and two bins or more")
        self.max_depth, self.upsample = max_depth, upsample
        self.conv_depth = nn.Conv2d(sum(in_channels), num_bins, 1)
        self.register_buffer("bins", torch.linspace(min_depth, max_depth, num_bins), persistent=False)
        self.loss_decode = MODELS.build(loss_decode or dict(type="mmseg.SiLogLoss"))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return metres [B, 1, upsample * h, upsample * w] of maps [B, C_i, h, w]."""
        # The layer and the resizing are both linear, so the narrower output can be resized, not the tokens.
        outputs = self.conv_depth(torch.cat(list(inputs), 1))
        outputs = F.interpolate(outputs, scale_factor=self.upsample, mode="bilinear", align_corners=False)
        shares = outputs.float().relu() + 0.1
        return torch.einsum("bkhw,k->bhw", shares / shares.sum(1, keepdim=True), self.bins)[:, None]

    def loss(self, inputs: Sequence[Tensor], data_samples: list, train_cfg: dict | None = None) -> dict[str, Tensor]:
        """Return the mean loss of the images that have a label; 0 where none has, NaN where a depth is."""
        labels = torch.stack([sample.gt_depth_map.data for sample in data_samples])  # [B, 1, H, W]
        labels = labels.where(labels <= self.max_depth, 0)
        depth = F.interpolate(self(inputs), labels.shape[2:], mode="bilinear", align_corners=False)
        # The gradient of an image without labels is not finite, so constants take its place; no look at the values, for
        # which a GPU would have to be waited for.
        labelled = labels.flatten(1).any(1)
        depth = depth.where(labelled[:, None, None, None], 1.0)
        labels = labels.where(labelled[:, None, None, None], 2.0)
        count = labelled.sum().clamp(min=1)
        loss = self.loss_decode(depth, labels, weight=labelled, avg_factor=count)
        return {"loss_depth": loss + 0 * depth.sum()}  # mmseg's SiLogLoss takes a depth that is NaN for absent

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict | None = None) -> Tensor:
        """Return metres [B, 1, H, W] of the padded images."""
        meta = batch_img_metas[0]
        size = tuple(meta.get("pad_shape", meta["img_shape"])[:2])
        return F.interpolate(self(inputs), size, mode="bilinear", align_corners=False)
