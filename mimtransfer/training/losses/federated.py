"""Federated loss for LVIS, whose images are annotated for some classes only (Zhou et al., 2021, arXiv 2103.07461).

Binary cross-entropy over the classes that occur in a batch and negatives drawn in proportion to the square root of how
many images hold them, as ViTDet trains on LVIS. No class stands for the background.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from mimtransfer.training.losses.lvis_v1 import IMAGE_COUNTS


@MODELS.register_module()
class FederatedLoss(nn.Module):
    """Be the `loss_cls` of an mmdet box head: it asks for the channels, the activation and the accuracy too.

    Args:
        num_classes: Classes C without background.
        num_kept: Classes that count in a batch, at least: those that occur (the background is one), then drawn ones.
        power: Of the image counts, for the chance to be drawn.
        image_counts: Of the C classes; None for LVIS v1's.
        loss_weight: Times the loss.

    Raises:
        UserError: The number of image counts is not C.
    """

    custom_cls_channels = True
    custom_activation = True
    custom_accuracy = True
    chance: Tensor

    def __init__(self, num_classes: int = 1203, num_kept: int = 50, power: float = 0.5,
                 image_counts: tuple[int, ...] | None = None, loss_weight: float = 1.0) -> None:
        super().__init__()
        counts = IMAGE_COUNTS if image_counts is None else image_counts
        if len(counts) != num_classes:
            raise UserError(f"FederatedLoss got {len(counts)} image counts for num_classes={num_classes}: give "
                            f"image_counts of your classes, or num_classes=1203 for LVIS v1")
        self.num_classes = num_classes
        self.num_kept = num_kept
        self.loss_weight = loss_weight
        chance = torch.tensor(counts, dtype=torch.float32) ** power
        self.register_buffer("chance", chance, persistent=False)  # [C]

    def forward(self, cls_score: Tensor, label: Tensor, weight: Tensor | None = None,
                avg_factor: float | None = None, reduction_override: str | None = None) -> Tensor:
        """Sum over the kept classes, mean over all R regions: the weights and `avg_factor` of mmdet do not enter.

        Args:
            cls_score: [R, C+1] logits; the last is mmdet's background and has no part.
            label: [R] int64 in 0 ... C, C is background.
        """
        logits = cls_score[:, :-1].float()
        target = F.one_hot(label, self.num_classes + 1)[:, :-1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return self.loss_weight * (loss * self.kept(label)).sum() / max(1, len(label))

    def kept(self, label: Tensor) -> Tensor:
        """Draw the classes that count, [C] bool."""
        # Exponential over chance, smallest first, draws without replacement; classes that occur come before all.
        key = torch.empty_like(self.chance).exponential_() / self.chance
        occurs = torch.zeros(self.num_classes + 1, dtype=torch.bool, device=label.device)
        occurs.index_fill_(0, label, True)  # an assignment would upload the value, for which the host waits
        num_drawn = (self.num_kept - occurs.sum()).clamp(min=0)
        rank = key.masked_fill(occurs[:-1], torch.inf).argsort().argsort()
        return occurs[:-1] | (rank < num_drawn)

    def get_cls_channels(self, num_classes: int) -> int:
        """Return C + 1: mmdet's heads index the background channel."""
        return num_classes + 1

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Return the probabilities [R, C+1] of the classes, and zero for the background."""
        scores = cls_score.sigmoid()
        return torch.cat([scores[:, :-1], torch.zeros_like(scores[:, -1:])], dim=1)

    def get_accuracy(self, cls_score: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return the share of the regions with an object whose best class is right, in percent."""
        objects = label < self.num_classes  # not as an index: to know how many there are is to wait for the device
        right = objects & (cls_score[:, :-1].argmax(1) == label)
        return {"acc_classes": 100.0 * right.float().sum() / objects.sum().clamp(min=1)}
