"""Adversarial accuracy: FGSM (Goodfellow et al., arXiv 1412.6572) and PGD (Madry et al., arXiv 1706.06083), L-infinity.
"""
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.draws import SampleGenerator, mix
from mimtransfer.errors import UserError
from mimtransfer.evaluation.robustness.changed_images import ChangedImagesLoop
from mimtransfer.evaluation.robustness.common_corruptions import content_hash
from mimtransfer.registry import LOOPS


def attack(
    logits: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, epsilon: float, steps: int, step_size: float,
    start: Tensor | None = None,
) -> Tensor:
    """Climb the cross-entropy by the sign of its gradient, within epsilon of the images and within 0 to 255.

    Args:
        logits: images [B, C, H, W] float in 0 to 255 -> [B, number of classes], differentiable.
        images: [B, C, H, W] in 0 to 255.
        labels: [B] int64, true classes.
        epsilon: how far a value may move, in levels of 255.
        steps: number of steps; 1 with `step_size=epsilon` is FGSM.
        step_size: in levels of 255.
        start: added to the images before the first step; None for nothing.

    Returns:
        [B, C, H, W] float32, not rounded.
    """
    clean = images.float()
    lower, upper = (clean - epsilon).clamp_min(0), (clean + epsilon).clamp_max(255)
    found = clean if start is None else (clean + start).clamp(lower, upper)
    for _ in range(steps):
        found = found.detach().requires_grad_()
        with torch.enable_grad():
            # The sum: an image's gradient does not depend on the batch, and does not underflow in a large one.
            loss = F.cross_entropy(logits(found), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, found)
        found = (found.detach() + step_size * slope.sign()).clamp(lower, upper)
    return found.detach()


@LOOPS.register_module()
class AttackLoop(ChangedImagesLoop):
    """Test under FGSM and PGD by an attacker who knows the weights. Metrics: `clean_top1`, `fgsm_top1`, `pgd_top1`.

    Defaults are those of RVT (arXiv 2105.07926) for naturally trained classifiers. PGD starts from a random point that
    is a function of the image and the seed.

    Args:
        runner, dataloader, evaluator: see `ChangedImagesLoop`.
        epsilon: how far a value of 0 to 255 may move, in both attacks.
        steps, step_size: of PGD; the latter in levels of 255.
        seed: of PGD's start.

    Raises:
        UserError: a number that is not positive.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        epsilon: float = 1.0,
        steps: int = 5,
        step_size: float = 0.5,
        seed: int = 0,
    ):
        if min(epsilon, steps, step_size) <= 0:
            raise UserError(f"AttackLoop: got epsilon={epsilon}, steps={steps}, step_size={step_size}, expected "
                            "positive numbers, in levels of 255")
        super().__init__(runner, dataloader, evaluator, ["fgsm", "pgd"])
        self.epsilon, self.steps, self.step_size, self.seed = epsilon, steps, step_size, seed

    def logits(self, images: Tensor) -> Tensor:
        """Return the classifier's scores [B, C] of images in 0 to 255."""
        data = self.classifier.data_preprocessor({"inputs": images}, False)
        return self.classifier(data["inputs"], mode="tensor")

    def versions(self, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the attacked images."""
        yield "fgsm", attack(self.logits, images, labels, self.epsilon, 1, self.epsilon)
        draws = SampleGenerator(mix(content_hash(images) + self.seed)).uniform(*images.shape[1:])
        start = self.epsilon * (2 * draws - 1)
        yield "pgd", attack(self.logits, images, labels, self.epsilon, self.steps, self.step_size, start)

    def summary(self, top1: dict[str, float]) -> dict[str, float]:
        """Return the metrics."""
        return {f"{name}_top1": top1[name] for name in ("clean", "fgsm", "pgd")}
