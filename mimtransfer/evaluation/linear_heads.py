"""Linear probes of frozen features, many settings at once.

MAE's linear probe (He et al. 2021, arXiv 2111.06377, appendix A.1): BatchNorm without affine parameters, a linear
layer, half a cosine after a linear warm-up. Departure from the released code: features are computed once, so images are
not augmented.
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimtransfer.registry import OPTIMIZERS


class LinearHeads(nn.Module):
    """S linear layers on the same normalised features; all begin with the same weights.

    Args:
        width: D.
        num_classes: C.
        num_heads: S.
        generator: draws the weights, a normal distribution of standard deviation 0.01.
    """

    def __init__(self, width: int, num_classes: int, num_heads: int, generator: torch.Generator | None = None):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        first = nn.init.trunc_normal_(torch.empty(num_classes, width), std=0.01, generator=generator)
        self.weights = nn.ParameterList(first.clone() for _ in range(num_heads))
        self.biases = nn.ParameterList(torch.zeros(num_classes) for _ in range(num_heads))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B, S, C] of features [B, D]."""
        logits = F.linear(self.norm(features), torch.cat([*self.weights]), torch.cat([*self.biases]))
        return logits.unflatten(1, (len(self.weights), -1))


def train_heads(
    heads: LinearHeads,
    features: Tensor,
    labels: Tensor,
    settings: Sequence[tuple[float, float]],
    optimizer: dict,
    epochs: int,
    warmup_epochs: int,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Train all heads in one pass over the features.

    Args:
        heads: on the device of the features.
        features: [N, D] float32.
        labels: [N] int64.
        settings: (lr, weight decay) of each head; the lr is that of the batch in use. Biases are not decayed.
        optimizer: config of an optimiser without lr and weight decay.
        epochs: passes over the features.
        warmup_epochs: in them the lr grows linearly from 0; then it falls to 0 with half a cosine.
        batch_size: an epoch leaves out what is left over; fewer features than that are one batch.
        seed: of the order.

    Returns:
        [steps, S] loss of each head in each step.
    """
    groups = []
    for weight, bias, (lr, weight_decay) in zip(heads.weights, heads.biases, settings):
        groups.append({"params": [weight], "lr": lr, "weight_decay": weight_decay})
        groups.append({"params": [bias], "lr": lr, "weight_decay": 0.0})
    stepper = OPTIMIZERS.build({"lr": 1.0, **optimizer, "params": groups})
    batch_size = min(batch_size, len(features))
    steps = len(features) // batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(stepper, lambda i: warmup_cosine(i / steps, warmup_epochs, epochs))
    generator = torch.Generator().manual_seed(seed)
    losses = []
    heads.train()
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator)[: steps * batch_size].to(features.device)
        for batch in order.split(batch_size):
            logits = heads(features[batch])
            wanted = labels[batch][:, None].expand(-1, logits.shape[1])
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted).mean(0)
            stepper.zero_grad()
            loss.sum().backward()  # each head gets the gradient of its own loss
            stepper.step()
            schedule.step()
            losses.append(loss.detach())
    heads.eval()
    return torch.stack(losses)


def warmup_cosine(epoch: float, warmup_epochs: int, epochs: int) -> float:
    """Return what multiplies the lr at a time in epochs: linear from 0 to 1, then half a cosine to 0."""
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))
