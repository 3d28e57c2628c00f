"""LinearSweepLoop: linear probes on cached features, all learning rates and weight decays in one pass.

MAE's linear probe (He et al. 2021, arXiv 2111.06377, appendix A.1): BatchNorm without affine parameters, a linear
layer, half a cosine after a linear warm-up. Departure from the released code: features are computed once, so images are
not augmented.
"""
import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast_object_list
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mimtransfer.datasets.classification import balanced_subset
from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.features import FeatureLoop
from mimtransfer.registry import LOOPS, OPTIMIZERS


class LinearHeads(nn.Module):
    """S linear layers on the same normalised features; all begin with the same weights.

    Args:
        width: D.
        num_classes: C.
        num_heads: S.
        generator: draws the weights, a normal distribution of std 0.01.
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
        order = torch.randperm(len(features), generator=generator)[: steps * batch_size]
        order = order.to(features.device, non_blocking=True)
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


class LinearSweep:
    """Choose lr and weight decay on a part of the memory, and train a probe with them on all of it.

    Of equal accuracies on the held-out part the first setting counts: lrs in their order, for each the weight decays.

    Args:
        num_images: size of the memory.
        lrs: base learning rates, for 256 images.
        weight_decays: weight decays.
        optimizer: config of an optimiser, LARS, AdamW or SGD, without the two.
        epochs, warmup_epochs, batch_size: see `train_heads`.
        held_out: share of the memory, class-balanced, that is held out for the choice. Not used for a single setting.
        owner: named in errors.

    Raises:
        UserError: no setting, or a held-out part that is empty or everything.
    """

    def __init__(self, num_images: int, lrs: Sequence[float], weight_decays: Sequence[float], optimizer: dict,
                 epochs: int = 90, warmup_epochs: int = 10, batch_size: int = 4096, held_out: float = 0.1,
                 owner: str = "LinearSweep"):
        self.settings = list(product(lrs, weight_decays))
        self.held_out = round(held_out * num_images)
        if not self.settings:
            raise UserError(f"{owner}: got lrs={lrs}, weight_decays={weight_decays}, expected one or more each")
        if len(self.settings) > 1 and not 0 < self.held_out < num_images:
            raise UserError(f"{owner}: held_out={held_out} of {num_images} images leaves {self.held_out} to choose by, "
                            "expected some, and some to train on")
        self.optimizer, self.batch_size = optimizer, batch_size
        self.epochs, self.warmup_epochs = epochs, warmup_epochs

    def fit(self, memory: Tensor, labels: Tensor, num_classes: int, seed: int) -> tuple[LinearHeads, dict[str, float]]:
        """Train the probe; with several processes, each the same one.

        Args:
            memory: [N, D] float32.
            labels: [N] int64.
            num_classes: C.
            seed: of the first weights and the order.

        Returns:
            the probe, one head; `lr`, `weight_decay` and `held_out_top1` of the choice, empty for a single setting.
        """
        chosen = self._choose(memory, labels, num_classes, seed) if len(self.settings) > 1 else {}
        setting = (chosen["lr"], chosen["weight_decay"]) if chosen else self.settings[0]
        return self._train(memory, labels, [setting], num_classes, seed), chosen

    def _choose(self, memory: Tensor, labels: Tensor, num_classes: int, seed: int) -> dict[str, float]:
        """Return the best setting by the held-out part, with its accuracy in points."""
        held = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        held[torch.from_numpy(balanced_subset(labels.cpu().numpy(), self.held_out, seed=0))] = True
        heads = self._train(memory[~held], labels[~held], self.settings, num_classes, seed)
        with torch.no_grad():
            right = [
                (heads(features).argmax(2) == truths[:, None]).sum(0)
                for features, truths in zip(memory[held].split(4096), labels[held].split(4096))
            ]
        accuracies = [100.0 * count / self.held_out for count in sum(right).tolist()]
        best = [accuracies.index(max(accuracies))]
        broadcast_object_list(best)  # each process trains for itself, and they must not part
        rows = [
            f"{lr:>10.3g} {weight_decay:>12.3g} {accuracy:>10.2f}{' *' if i == best[0] else ''}"
            for i, ((lr, weight_decay), accuracy) in enumerate(zip(self.settings, accuracies))
        ]
        title = f"{'lr':>10} {'weight decay':>12} {'top-1':>10}  of {self.held_out} held-out images"
        print_log("\n".join(["linear probes:", title, *rows]), logger="current")
        lr, weight_decay = self.settings[best[0]]
        return {"lr": lr, "weight_decay": weight_decay, "held_out_top1": accuracies[best[0]]}

    def _train(self, features: Tensor, labels: Tensor, settings: list[tuple[float, float]], num_classes: int,
               seed: int) -> LinearHeads:
        generator = torch.Generator().manual_seed(seed)
        heads = LinearHeads(features.shape[1], num_classes, len(settings), generator).to(features.device)
        scale = min(self.batch_size, len(features)) / 256
        scaled = [(lr * scale, weight_decay) for lr, weight_decay in settings]
        schedule = self.epochs, self.warmup_epochs, self.batch_size
        train_heads(heads, features, labels, scaled, self.optimizer, *schedule, seed)
        return heads


@LOOPS.register_module()
class LinearSweepLoop(FeatureLoop):
    """Choose and train a probe on the memory, see `LinearSweep`, and test it.

    The test images have no part in the choice. The metrics get `lr`, `weight_decay` and `held_out_top1`.

    Args:
        runner, dataloader, evaluator, memory_dataloader, amp: see `FeatureLoop`.
        lrs, weight_decays, optimizer, epochs, warmup_epochs, batch_size, held_out: see `LinearSweep`.

    Raises:
        UserError: see `LinearSweep`, or the classes differ.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        memory_dataloader: dict,
        lrs: Sequence[float],
        weight_decays: Sequence[float],
        optimizer: dict,
        epochs: int = 90,
        warmup_epochs: int = 10,
        batch_size: int = 4096,
        held_out: float = 0.1,
        amp: bool = False,
    ):
        super().__init__(runner, dataloader, evaluator, memory_dataloader, amp)
        self.sweep = LinearSweep(len(self.memory_dataloader.dataset), lrs, weight_decays, optimizer, epochs,
                                 warmup_epochs, batch_size, held_out, "LinearSweepLoop")

    def run(self) -> dict[str, float]:
        """Fill the memory, choose, train, then test."""
        self.runner.model.eval()
        self.heads, chosen = self.sweep.fit(*self.read_memory(), len(self.classes), self.runner.seed)
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        for idx, batch in enumerate(self.dataloader):
            self.run_iter(idx, batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset)) | chosen
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def scores(self, features: Tensor) -> Tensor:
        """Return the logits of the chosen probe."""
        return self.heads(features)[:, 0]
