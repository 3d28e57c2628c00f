"""What tests on changed images share: several versions of each image, one reading of the data, one score each."""
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop
from torch import Tensor
from torch.utils.data import DataLoader


class ChangedImagesLoop(TestLoop):
    """Test a classifier on the images as they are (`clean`) and on changed ones. A subclass gives `versions` and
    `summary`.

    An item of the data set is dict(inputs=[3, H, W] uint8, label=int).

    Args:
        runner: the Runner.
        dataloader: the test images, built or as config.
        evaluator: `TopAccuracy`, or what else gives `top1`; each version gets its own.
        names: of the versions.
    """

    def __init__(
        self, runner: Runner, dataloader: DataLoader | dict, evaluator: Evaluator | dict | list, names: Sequence[str]
    ):
        super().__init__(runner, dataloader, evaluator)
        self.evaluators = {name: copy.deepcopy(self.evaluator) for name in names}
        self.evaluators["clean"] = self.evaluator  # it also writes the predictions of `--out`

    def versions(self, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield names and changed images [B, 3, H, W] of images [B, 3, H, W] uint8 and labels [B], on the device."""
        raise NotImplementedError

    def summary(self, top1: dict[str, float]) -> dict[str, float]:
        """Return the metrics from version -> accuracy in points."""
        raise NotImplementedError

    @property
    def classifier(self) -> Any:
        """The model without wrapper."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run(self) -> dict[str, float]:
        """Test."""
        self.runner.call_hook("before_test")
        self.runner.call_hook("before_test_epoch")
        self.runner.model.eval()
        for idx, batch in enumerate(self.dataloader):
            self.run_iter(idx, batch)
        size, top1 = len(self.dataloader.dataset), {}
        for name, evaluator in self.evaluators.items():
            scores = evaluator.evaluate(size)
            top1[name] = next(value for key, value in scores.items() if key.rpartition("/")[2] == "top1")
        metrics = self.summary(top1)
        self.runner.call_hook("after_test_epoch", metrics=metrics)
        self.runner.call_hook("after_test")
        return metrics

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Score a batch in all versions."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        device = next(self.runner.model.parameters()).device
        images, labels = data_batch["inputs"].to(device), data_batch["label"].to(device)
        outputs = self._score("clean", images, data_batch)
        for name, changed in self.versions(images, labels):
            self._score(name, changed, data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    @torch.no_grad()
    def _score(self, name: str, images: Tensor, data_batch: dict) -> list[dict]:
        outputs = self.runner.model.test_step({**data_batch, "inputs": images})
        self.evaluators[name].process(data_samples=outputs, data_batch=data_batch)
        return outputs
