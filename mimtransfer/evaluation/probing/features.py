"""Frozen features: a backbone that nobody trains with one vector for each image, and the features of a labelled memory,
read once, which k-NN and the sweep of linear probes share.
"""
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from mmengine.device import get_device
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
    """Describe a labelled memory, then score the test images by it. A subclass gives `scores`.

    The model returns features [B, D] in `test_step`. An item of both data sets is dict(inputs=..., label=...), and both
    have the same classes in the same order.

    Args:
        runner: the Runner.
        dataloader: the test images, built or as config.
        evaluator: gets dict(pred_score=[C], pred_label, gt_label) for each image.
        memory_dataloader: config of the loader of the memory; with several processes `round_up=False` of its sampler.
        amp: extract features under bf16 autocast.

    Raises:
        UserError: the classes differ, or scores are not finite.
    """

    unit = "images"  # what a feature describes

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

    def fit(self, memory: Tensor, labels: Tensor) -> None:
        """Take the memory: features [N, D] float32 and classes [N] int64."""
        self.memory, self.labels = memory, labels

    def scores(self, features: Tensor) -> Tensor:
        """Return scores [N, C] of the classes for features [N, D]; the highest is the prediction."""
        raise NotImplementedError

    def run(self) -> dict[str, float]:
        """Fill the memory, then test."""
        self.runner.model.eval()
        self.fit(*self.read_memory())
        return super().run()

    @torch.inference_mode()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Classify a batch."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        scores = self.scores(self.features(data_batch)).cpu()
        if not scores.isfinite().all():
            raise UserError(f"{type(self).__name__}: the scores of test images are not finite; look at the checkpoint")
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

    def labelled(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Return features [N, D] float32 of a batch of the memory, and their classes [N] int64."""
        return self.features(batch), batch["label"]

    @torch.no_grad()
    def read_memory(self) -> tuple[Tensor, Tensor]:
        """Return features [N, D] float32 of the whole memory, and their classes [N] int64, on the device."""
        start = time.perf_counter()
        memory, labels = read_features(self.memory_dataloader, self.labelled)
        seconds = time.perf_counter() - start
        print_log(f"memory of {len(memory)} {self.unit} of {len(labels.unique())} of {len(self.classes)} classes, "
                  f"features of {memory.shape[1]}, {seconds:.0f} s", logger="current")
        return memory, labels


def check_classes(tested: Sequence[str], memory: Sequence[str], owner: str) -> None:
    """Check that the test images have the classes of the memory, in the same order.

    Raises:
        UserError: they have others; it names `owner`.
    """
    if tuple(tested) != tuple(memory):
        odd = sorted(set(tested) ^ set(memory))[:5]
        found = f"not in both: {', '.join(odd)}" if odd else "their order differs"
        raise UserError(f"{owner}: the test data have {len(tested)} classes, the memory {len(memory)}, expected the "
                        f"same; {found}")


def read_features(batches: Iterable[dict], labelled: Callable[[dict], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Describe all images once; with several processes those of all, in the order of one that reads them alone.

    Args:
        batches: of images with labels; a process of several has those at `rank`, `rank + world_size` ..., or none.
        labelled: batch -> features [n, D], and their labels [n] int64 on any device.

    Returns:
        features [N, D], and their labels [N] int64 on the same device.
    """
    features, truths = [], []
    for batch in batches:
        described, labels = labelled(batch)
        features.append(described)
        truths.append(labels.clone())  # that of a worker is shared memory, which holds an open file each
    if get_world_size() == 1:
        memory = torch.cat(features)
        return memory, torch.cat(truths).to(memory.device)
    # With fewer images than processes some have none.
    device = features[0].device if features else torch.device(get_device())
    parts = all_gather_object((torch.cat(features).cpu(), torch.cat(truths).cpu()) if features else None)
    found = [(rank, *part) for rank, part in enumerate(parts) if part is not None]
    order = torch.cat([torch.arange(len(part)) * len(parts) + rank for rank, part, _ in found]).argsort()
    _, *both = zip(*found)
    memory, labels = (torch.cat(part)[order].to(device) for part in both)
    return memory, labels


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
        self.backbone.frozen = True
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
