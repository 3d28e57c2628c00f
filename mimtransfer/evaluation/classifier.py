"""Classifier: a backbone, pooling and a linear head; for full fine-tuning and for linear probing."""
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.evaluation.mixing import Mixing
from mimtransfer.evaluation.pooling import check_pooling, pool
from mimtransfer.registry import MODELS


@MODELS.register_module()
class Classifier(BaseModel):
    """Classify images.

    Fine-tuning of MAE, SimMIM, MFM and MaPeT on a ViT: `pooling='mean', norm='layer'`, and `final_norm=False` of the
    backbone: the norm comes after the mean (BEiT, arXiv 2106.08254; MAE, arXiv 2111.06377). Linear probing of MAE:
    `freeze_backbone=True, norm='batch'`. Attentive probing (V-JEPA, arXiv 2404.08471, sec. 4.2 and app. D): also
    `pooling='attention'`. Departs: the block is timm's, without V-JEPA's norm of the tokens, which have passed that of
    the backbone, and without the residual connection of the query.

    Args:
        backbone: config of TimmViT, TimmSwin or TimmCNN; `--pretrained` sets its `init_cfg`.
        num_classes: C.
        pooling: 'mean' of the patch tokens (or of the last map), the 'class' token, or 'attention': a learned query
            attends to the patch tokens, with a head for each 64 channels, and an MLP follows.
        norm: of the pooled features: None, 'layer', or 'batch': without affine parameters, as before a linear probe.
        freeze_backbone: train the head alone. The backbone is in evaluation mode and gets no gradient.
        head_std: std of the head's initial weights, a normal distribution cut at 2; biases are 0.
        label_smoothing, mixup, random_erasing: see `Mixing`.
        loss: 'softmax' cross-entropy, or 'sigmoid': each class by itself (arXiv 2110.00476, sec. 3).
        target_threshold: with 'sigmoid', targets above it count as 1 and others as 0; None leaves them soft.
        data_preprocessor: config of mmengine's preprocessor, which normalises on the device.
        init_cfg: of mmengine.

    Raises:
        UserError: a name that there is not, or the class token of a backbone without one.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        pooling: str = "mean",
        norm: str | None = None,
        freeze_backbone: bool = False,
        head_std: float = 0.02,
        label_smoothing: float = 0.0,
        mixup: dict | None = None,
        random_erasing: dict | None = None,
        loss: str = "softmax",
        target_threshold: float | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        check_pooling(self.backbone, pooling, "Classifier", attention=True)
        if loss not in ("softmax", "sigmoid"):
            raise UserError(f"Classifier: got loss={loss!r}, expected 'softmax' or 'sigmoid'")
        self.pooling, self.freeze_backbone = pooling, freeze_backbone
        self.loss_kind, self.target_threshold = loss, target_threshold
        self.mixing = Mixing(num_classes, label_smoothing, mixup, random_erasing)
        width = self.backbone.embed_dim
        self.attend = _attention(width) if pooling == "attention" else nn.Identity()
        self.norm = _pooled_norm(norm, width)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=head_std)
        nn.init.zeros_(self.head.bias)
        if freeze_backbone:
            self.backbone.requires_grad_(False)

    def forward(
        self, inputs: Tensor, label: Tensor | None = None, data_samples: None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor] | list[dict]:
        """Return logits [B, C] of normalised images [B, 3, H, W], or what `mode` asks for.

        Args:
            label: [B] int64.
            data_samples: of mmengine, not used.
            mode: 'tensor'; 'loss'; or 'predict' for what `TopAccuracy` reads.
        """
        if mode == "loss":
            assert label is not None
            return self.loss(inputs, label)
        logits = self.head(self.norm(self.attend(self.features(inputs)))).float()
        if mode == "tensor":
            return logits
        assert label is not None
        scores = logits.cpu()  # not probabilities: they would round to ties
        return [
            {"pred_score": score, "pred_label": predicted, "gt_label": truth}
            for score, predicted, truth in zip(scores, scores.argmax(1).tolist(), label.tolist())
        ]

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features [B, D], or the tokens [B, N, D] to which the query attends."""
        wanted = images.requires_grad or not self.freeze_backbone  # an attack goes through a frozen backbone
        with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
            return pool(self.backbone, images, self.pooling)

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of a training batch, erased and mixed as configured."""
        images, targets = self.mixing(images, labels)
        logits = self.forward(images)
        assert isinstance(logits, Tensor)
        if self.loss_kind == "softmax":
            return {"loss": F.cross_entropy(logits, targets)}
        if self.target_threshold is not None:
            targets = (targets > self.target_threshold).float()
        return {"loss": F.binary_cross_entropy_with_logits(logits, targets)}

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self


def _attention(width: int) -> nn.Module:
    heads = max(1, width // 64)
    if width % heads:
        raise UserError(f"Classifier: pooling='attention' has a head for each 64 channels, got a backbone of {width}")
    norm: Any = partial(nn.LayerNorm, eps=1e-6)
    return AttentionPoolLatent(width, num_heads=heads, norm_layer=norm)


def _pooled_norm(kind: str | None, width: int) -> nn.Module:
    # eps of timm's and MAE's LayerNorm, and of MAE's BatchNorm before the linear probe
    norms: dict[str | None, Callable[[], nn.Module]] = {
        None: nn.Identity, "layer": lambda: nn.LayerNorm(width, eps=1e-6),
        "batch": lambda: nn.BatchNorm1d(width, affine=False, eps=1e-6)}
    if kind not in norms:
        raise UserError(f"Classifier: got norm={kind!r}, expected None, 'layer' or 'batch'")
    return norms[kind]()
