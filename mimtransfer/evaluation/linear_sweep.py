"""LinearSweepLoop: linear probes on cached features, all learning rates and weight decays in one pass."""
from collections.abc import Sequence
from itertools import product

import torch
from mmengine.dist import broadcast_object_list
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.datasets.classification import balanced_subset
from mimtransfer.errors import UserError
from mimtransfer.evaluation.feature_loop import FeatureLoop
from mimtransfer.evaluation.linear_heads import LinearHeads, train_heads
from mimtransfer.registry import LOOPS


@LOOPS.register_module()
class LinearSweepLoop(FeatureLoop):
    """Choose lr and weight decay on a part of the memory, train a probe with them on all of it, and test it.

    The test images have no part in the choice. Of equal accuracies on the held-out part the first setting counts: lrs
    in their order, for each the weight decays. The metrics get `lr`, `weight_decay` and `held_out_top1`.

    Args:
        runner, dataloader, evaluator, memory_dataloader, amp: see `FeatureLoop`.
        lrs: base learning rates, for 256 images.
        weight_decays: weight decays.
        optimizer: config of an optimiser, LARS, AdamW or SGD, without the two.
        epochs, warmup_epochs, batch_size: see `train_heads`.
        held_out: share of the memory, class-balanced, that is held out for the choice. Not used for a single setting.

    Raises:
        UserError: no setting, a held-out part that is empty or everything, or the classes differ.
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
        self.settings = list(product(lrs, weight_decays))
        self.held_out = round(held_out * len(self.memory_dataloader.dataset))
        if not self.settings:
            raise UserError(f"LinearSweepLoop: got lrs={lrs}, weight_decays={weight_decays}, expected one or more each")
        if len(self.settings) > 1 and not 0 < self.held_out < len(self.memory_dataloader.dataset):
            raise UserError(f"LinearSweepLoop: held_out={held_out} of {len(self.memory_dataloader.dataset)} images "
                            f"leaves {self.held_out} to choose by, expected some, and some to train on")
        self.optimizer, self.batch_size = optimizer, batch_size
        self.epochs, self.warmup_epochs = epochs, warmup_epochs

    def run(self) -> dict[str, float]:
        """Fill the memory, choose, train, then test."""
        self.runner.model.eval()
        self.memory, self.labels = self._read_memory()
        chosen = self._choose() if len(self.settings) > 1 else {}
        setting = (chosen["lr"], chosen["weight_decay"]) if chosen else self.settings[0]
        self.heads = self._train(self.memory, self.labels, [setting])
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

    def _choose(self) -> dict[str, float]:
        """Return the best setting by the held-out part, with its accuracy in points."""
        held = torch.zeros(len(self.labels), dtype=torch.bool, device=self.labels.device)
        held[torch.from_numpy(balanced_subset(self.labels.cpu().numpy(), self.held_out, seed=0))] = True
        heads = self._train(self.memory[~held], self.labels[~held], self.settings)
        with torch.no_grad():
            right = [
                (heads(features).argmax(2) == labels[:, None]).sum(0)
                for features, labels in zip(self.memory[held].split(4096), self.labels[held].split(4096))
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

    def _train(self, features: Tensor, labels: Tensor, settings: list[tuple[float, float]]) -> LinearHeads:
        seed = self.runner.seed
        generator = torch.Generator().manual_seed(seed)
        heads = LinearHeads(features.shape[1], len(self.classes), len(settings), generator).to(features.device)
        scale = min(self.batch_size, len(features)) / 256
        scaled = [(lr * scale, weight_decay) for lr, weight_decay in settings]
        schedule = self.epochs, self.warmup_epochs, self.batch_size
        train_heads(heads, features, labels, scaled, self.optimizer, *schedule, seed)
        return heads
