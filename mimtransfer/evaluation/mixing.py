"""What happens to a training batch on the device: erase, mix, soften the labels. All of it is timm's."""
import torch.nn.functional as F
from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from mimtransfer.errors import UserError


class Mixing:
    """Random erasing (arXiv 1708.04896), mixup (1710.09412), CutMix (1905.04899) and label smoothing, in this order.

    They draw from the global generators of Python and numpy, the noise of erased pixels from torch's; `SeedHook` seeds
    them for each iteration.

    Args:
        num_classes: C.
        label_smoothing: s: a label becomes 1 - s + s / C, the other classes s / C.
        mixup: arguments of `timm.data.Mixup`: mixup_alpha, cutmix_alpha, cutmix_minmax, prob, switch_prob, mode.
        random_erasing: arguments of timm's RandomErasing: probability, mode ('const', 'rand', 'pixel'), max_count.

    Raises:
        UserError: an argument that timm does not know; from a call, an odd batch that is to be mixed.
    """

    def __init__(self, num_classes: int, label_smoothing: float, mixup: dict | None, random_erasing: dict | None):
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        try:
            self.mixup = mixup and Mixup(**mixup, label_smoothing=label_smoothing, num_classes=num_classes)
            self.erasing = random_erasing and RandomErasing(**random_erasing)
        except TypeError as error:
            raise UserError(f"mixup={mixup}, random_erasing={random_erasing}: {error} (timm)") from None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and targets [B, C] of normalised images [B, 3, H, W], which are changed, and labels [B]."""
        if self.erasing:
            self.erasing.device = images.device
            images = self.erasing(images)
        if self.mixup:
            if len(images) % 2:
                raise UserError(f"mixup needs batches of an even size, got {len(images)}: change "
                                "train_dataloader.batch_size, and keep drop_last=True")
            return self.mixup(images, labels)
        if self.label_smoothing:
            return images, mixup_target(labels, self.num_classes, smoothing=self.label_smoothing)
        return images, F.one_hot(labels, self.num_classes).float()
