"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., CVPR 2018, arXiv 1805.01978, sec. 3.4)."""
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.features import FeatureLoop
from mimtransfer.registry import LOOPS
from mimtransfer.training.precision import full_fp32

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

    Raises:
        UserError: a temperature that is not above 0.
    """
    check_temperature(temperature, "k-NN")
    votes = []
    for chunk in queries.split(max(1, _MAX_SIMILARITIES // len(memory))):
        with full_fp32():
            similarity, nearest = (chunk @ memory.T).topk(k)  # [q, k], descending
        weights = ((similarity - similarity[:, :1]) / temperature).exp()  # the difference, so that none overflows
        votes.append(weights.new_zeros(len(chunk), num_classes).scatter_add_(1, labels[nearest], weights))
    return torch.cat(votes)


def check_temperature(temperature: float, owner: str) -> None:
    """Check that a temperature is a number above 0; before a memory is read, which takes long.

    Raises:
        UserError: it is not; it names `owner`.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
        raise UserError(f"{owner}: got temperature={temperature!r}, expected a number above 0")


@LOOPS.register_module()
class KNNLoop(FeatureLoop):
    """Classify the test images by their nearest neighbours in the memory. Features are brought to length 1 here.

    Args:
        runner, dataloader, evaluator, memory_dataloader, amp: see `FeatureLoop`.
        k: number of neighbours.
        temperature: of the votes.

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
        super().__init__(runner, dataloader, evaluator, memory_dataloader, amp)
        check_temperature(temperature, "KNNLoop")
        self.k, self.temperature = k, temperature
        size = len(self.memory_dataloader.dataset)
        if not 0 < k <= size:
            raise UserError(f"KNNLoop: got k={k} and a memory of {size} images, expected 1 <= k <= that")

    def scores(self, features: Tensor) -> Tensor:
        """Return the votes."""
        return knn_votes(features, self.memory, self.labels, len(self.classes), self.k, self.temperature)

    def features(self, batch: dict) -> Tensor:
        """Return features [B, D] float32 of length 1."""
        return F.normalize(super().features(batch), dim=1)
