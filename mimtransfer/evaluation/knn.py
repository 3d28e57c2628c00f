"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., CVPR 2018, arXiv 1805.01978, sec. 3.4)."""
import time

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner, TestLoop
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError
from mimtransfer.registry import LOOPS

_MAX_SIMILARITIES = 2**26  # of queries to the memory, at a time: 256 MB


def knn_votes(
    queries: Tensor, memory: Tensor, labels: Tensor, num_classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Let the k most similar vectors of the memory vote, each with weight exp(cosine similarity / temperature).

    Args:
        queries: [Q, D], each of length 1.
        memory: [N, D], each of length 1.
        labels: [N] int64, classes of the memory.
        num_classes: C.
        k: number of neighbours, at most N.
        temperature: the smaller, the more the nearest count.

    Returns:
        [Q, C] votes of the classes; those of a query are scaled so that its nearest neighbour has weight 1.
    """
    votes = []
    for chunk in queries.split(max(1, _MAX_SIMILARITIES // len(memory))):
        similarity, nearest = (chunk @ memory.T).topk(k)  # [q, k], descending
        weights = ((similarity - similarity[:, :1]) / temperature).exp()  # the difference, so that none overflows
        votes.append(weights.new_zeros(len(chunk), num_classes).scatter_add_(1, labels[nearest], weights))
    return torch.cat(votes)


@LOOPS.register_module()
class KNNLoop(TestLoop):
    """Extract the features of a labelled memory, then classify the test images by their nearest neighbours in it.

    The model returns features [B, D] in `test_step`; they are brought to length 1 here. An item of both data sets is
    dict(inputs=..., label=...), and both have the same classes.

    Args:
        runner: the Runner.
        dataloader: the test images, built or as config.
        evaluator: gets dict(pred_score=[C], pred_label, gt_label) for each image.
        memory_dataloader: config of the loader of the memory; with several processes `round_up=False` of its sampler.
        k: number of neighbours.
        temperature: of the votes.
        amp: extract features under bf16 autocast.

    Raises:
        UserError: the memory is smaller than k, or the classes differ.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        memory_dataloader: dict,
        k: int = 20,
        temperature: float = 0.07,
        amp: bool = False,
    ):
        super().__init__(runner, dataloader, evaluator)
        self.memory_dataloader = runner.build_dataloader(memory_dataloader, seed=runner.seed)
        self.k, self.temperature, self.amp = k, temperature, amp
        dataset = self.memory_dataloader.dataset
        self.classes = dataset.metainfo["classes"]
        if not 0 < k <= len(dataset):
            raise UserError(f"KNNLoop: got k={k} and a memory of {len(dataset)} images, expected 1 <= k <= that")
        tested = self.dataloader.dataset.metainfo["classes"]
        if tested != self.classes:
            odd = sorted(set(tested) ^ set(self.classes))[:5]
            raise UserError(f"KNNLoop: the test data have {len(tested)} classes, the memory {len(self.classes)}, "
                            f"expected the same; not in both: {', '.join(odd)}")

    def run(self) -> dict[str, float]:
        """Fill the memory, then test."""
        self.runner.model.eval()
        self.memory, self.labels = self._read_memory()
        return super().run()

    @torch.inference_mode()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Classify a batch."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        features = self._features(data_batch)
        votes = knn_votes(features, self.memory, self.labels, len(self.classes), self.k, self.temperature).cpu()
        outputs = [
            {"pred_score": scores, "pred_label": predicted, "gt_label": label}
            for scores, predicted, label in zip(votes, votes.argmax(1).tolist(), data_batch["label"].tolist())
        ]
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    @torch.inference_mode()
    def _read_memory(self) -> tuple[Tensor, Tensor]:
        start = time.perf_counter()
        features, labels = [], []
        for batch in self.memory_dataloader:
            features.append(self._features(batch))
            labels.append(batch["label"])
        memory, labels = torch.cat(features), torch.cat(labels)
        device = memory.device
        if get_world_size() > 1:
            parts = all_gather_object((memory.cpu(), labels))
            memory, labels = (torch.cat(part).to(device) for part in zip(*parts))
        seconds = time.perf_counter() - start
        print_log(f"memory of {len(memory)} images in {len(self.classes)} classes, features of {memory.shape[1]}, "
                  f"{seconds:.0f} s", logger="current")
        return memory, labels.to(device)

    def _features(self, batch: dict) -> Tensor:
        """Return features [B, D] float32 of length 1."""
        device = next(self.runner.model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.amp):
            features = self.runner.model.test_step(batch)
        return F.normalize(features.float(), dim=1)
