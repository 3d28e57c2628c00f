"""Frozen features: a backbone that nobody trains with one vector for each image, and the features of a labelled memory,
read once, which k-NN and the sweep of linear probes share.
"""
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import Runner, TestLoop
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError
from mimtransfer.evaluation.pooling import check_pooling, pool
from mimtransfer.registry import MODELS


class FeatureLoop(TestLoop):
    """Extract the features of a labelled memory, then classify the test images by them. A subclass gives `scores`.

    The model returns features [B, D] in `test_step`. An item of both data sets is dict(inputs=..., label=...), and both
    have the same classes.

    Args:
        runner: the Runner.
        dataloader: the test images, built or as config.
        evaluator: gets dict(pred_score=[C], pred_label, gt_label) for each image.
        memory_dataloader: config of the loader of the memory; with several processes `round_up=False` of its sampler.
        amp: extract features under bf16 autocast.

    Raises:
        UserError: the classes differ.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        memory_dataloader: dict,
        amp: bool = False,
    ):
        super().__init__(runner, dataloader, evaluator)
        self.memory_dataloader = runner.build_dataloader(memory_dataloader, seed=runner.seed)
        self.amp = amp
        self.classes = self.memory_dataloader.dataset.metainfo["classes"]
        check_classes(self.dataloader.dataset.metainfo["classes"], self.classes, type(self).__name__)

    def scores(self, features: Tensor) -> Tensor:
        """Return scores [B, C] of the classes for features [B, D]; the highest is the prediction."""
        raise NotImplementedError

    def run(self) -> dict[str, float]:
        """Fill the memory, then test."""
        self.runner.model.eval()
        self.memory, self.labels = self._read_memory()
        return super().run()

    @torch.inference_mode()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Classify a batch."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        scores = self.scores(self.features(data_batch)).cpu()
        outputs = [
            {"pred_score": score, "pred_label": predicted, "gt_label": label}
            for score, predicted, label in zip(scores, scores.argmax(1).tolist(), data_batch["label"].tolist())
        ]
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def features(self, batch: dict) -> Tensor:
        """Return features [B, D] float32."""
        device = next(self.runner.model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.amp):
            return self.runner.model.test_step(batch).float()

    @torch.no_grad()
    def _read_memory(self) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        memory, labels = read_features(self.memory_dataloader, self.features)
        seconds = time.perf_counter() - start
        print_log(f"memory of {len(memory)} images in {len(self.classes)} classes, features of {memory.shape[1]}, "
                  f"{seconds:.0f} s", logger="current")
        return memory, labels


def check_classes(tested: Sequence[str], memory: Sequence[str], owner: str) -> None:
    """Check that the test images have the classes of the memory.

    Raises:
        UserError: they have others; it names `owner`.
    """
    if tested != memory:
        odd = sorted(set(tested) ^ set(memory))[:5]
        raise UserError(f"{owner}: the test data have {len(tested)} classes, the memory {len(memory)}, expected the "
                        f"same; not in both: {', '.join(odd)}")


def read_features(batches: Iterable[dict], describe: Callable[[dict], Tensor]) -> tuple[Tensor, Tensor]:
    """Describe all images once; with several processes, those of all, rank after rank.

    Args:
        batches: of dict(inputs=..., label=[B]).
        describe: batch -> features [B, D].

    Returns:
        features [N, D], and their labels [N] int64 on the same device.
    """
    features, truths = [], []
    for batch in batches:
        features.append(describe(batch))
        truths.append(batch["label"])
    memory, labels = torch.cat(features), torch.cat(truths)
    device = memory.device
    if get_world_size() > 1:
        parts = all_gather_object((memory.cpu(), labels))
        memory, labels = (torch.cat(part).to(device) for part in zip(*parts))
    return memory, labels.to(device)


@MODELS.register_module()
class FrozenFeatures(BaseModel):
    """Describe each image by one vector of the backbone.

    Args:
        backbone: config of a backbone; `init_cfg=dict(type='Pretrained', checkpoint=...)` is set by `--pretrained`.
        pooling: 'mean' of the patch tokens of the last map, or the 'class' token; after the final norm.
        data_preprocessor: config of mmengine's preprocessor, which normalises on the device.
        init_cfg: of mmengine.

    Raises:
        UserError: a pooling that there is not, or the class token of a backbone without one.
    """

    def __init__(
        self,
        backbone: dict,
        pooling: str = "mean",
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        check_pooling(self.backbone, pooling, "FrozenFeatures")
        self.pooling = pooling

    def forward(
        self, inputs: Tensor, label: Tensor | None = None, data_samples: None = None, mode: str = "tensor"
    ) -> Tensor:
        """Return features [B, D] of images [B, C, H, W]; the labels are not looked at.

        `mode` is mmengine's; there is no loss.
        """
        if mode == "loss":
            raise ValueError("FrozenFeatures has no loss: nothing is trained")
        return pool(self.backbone, inputs, self.pooling)
