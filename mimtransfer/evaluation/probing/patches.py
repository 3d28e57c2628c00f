"""Segmentation by frozen patch tokens, with nothing trained through the backbone: neighbours or logistic regression.

Each patch of the training images is a labelled point: its class is that of most of its labelled pixels. Each patch of a
test image gets scores, which are resized to the image as a segmentation head's are; so mIoU is comparable with that of
a trained head. The protocols of dense k-NN and linear probes (CAPI, arXiv 2502.08769, sec. 4; Hummingbird, arXiv
2306.01667) differ in such details from one another; these are ours.
"""
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_dist_info
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import Tensor

from mimtransfer.datasets.index_maps import IGNORED
from mimtransfer.datasets.sampler import sample_seed
from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.features import FeatureLoop
from mimtransfer.evaluation.probing.knn import check_temperature, knn_votes
from mimtransfer.registry import LOOPS, MODELS
from mimtransfer.training.precision import full_fp32


@MODELS.register_module()
class FrozenMaps(BaseModel):
    """Describe each patch of an image by one vector of the backbone.

    Args:
        backbone: config of a backbone; its last map counts. `--pretrained` sets its `init_cfg`.
        data_preprocessor: config of mmseg's preprocessor, which pads to multiples of the patch.
        init_cfg: of mmengine.
    """

    def __init__(self, backbone: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.backbone.frozen = True

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor") -> Tensor:
        """Return the last map [B, D, h, w] of images [B, C, H, W]; the labels are not looked at."""
        if mode == "loss":
            raise ValueError("FrozenMaps has no loss: nothing is trained")
        return self.backbone(inputs)[-1]


def patch_labels(labels: Tensor, shown: tuple[int, int], padded: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return the class of each patch: that of most of its labelled pixels, the lowest of equal ones.

    Args:
        labels: [H, W] int64 of the image in its own size; 255 does not count.
        shown: height and width to which the image was resized.
        padded: height and width with padding below and on the right; multiples of the grid.
        grid: (h, w), patches.

    Returns:
        [h, w] int64; 255 where no pixel is labelled.
    """
    pixels = F.interpolate(labels[None, None].float(), size=shown, mode="nearest-exact")[0, 0].long()
    pixels = F.pad(pixels, (0, padded[1] - shown[1], 0, padded[0] - shown[0]), value=IGNORED)
    rows, columns = padded[0] // grid[0], padded[1] // grid[1]
    patches = pixels.view(grid[0], rows, grid[1], columns).transpose(1, 2).reshape(grid[0] * grid[1], -1)
    counts = torch.zeros(len(patches), IGNORED + 1, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(1, patches, torch.ones_like(patches))
    most, winner = counts[:, :IGNORED].max(1)
    return torch.where(most > 0, winner, IGNORED).view(grid)


def labelled_patches(
    map_: Tensor, labels: Tensor, shown: tuple[int, int], padded: tuple[int, int], seed: int, count: int | None
) -> tuple[Tensor, Tensor]:
    """Return the labelled patches of an image, or some of them.

    Args:
        map_: [D, h, w].
        labels, shown, padded: see `patch_labels`.
        seed: draws them.
        count: so many at most; None: all.

    Returns:
        features [N, D], and their classes [N] int64.
    """
    classes = patch_labels(labels, shown, padded, (map_.shape[1], map_.shape[2])).flatten()
    kept = (classes != IGNORED).nonzero()[:, 0]
    draws = torch.Generator().manual_seed(seed)
    kept = kept[torch.randperm(len(kept), generator=draws)[:count].to(kept.device)]
    return map_.flatten(1).T[kept], classes[kept]


def classes_of_pixels(
    scores: Tensor, grid: tuple[int, int], padded: tuple[int, int], shown: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Return the class of each pixel by the scores of patches, resized as those of a segmentation head.

    Args:
        scores: [h * w, C] of the patches, row by row.
        grid, padded, shown: see `patch_labels`.
        size: height and width of the image in its own size.

    Returns:
        [1, height, width] int64.
    """
    maps = F.interpolate(scores.T.reshape(1, -1, *grid), size=padded, mode="bilinear", align_corners=False)
    maps = maps[..., : shown[0], : shown[1]]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False).argmax(1)


def fit_logistic(
    features: Tensor, labels: Tensor, num_classes: int, strength: float = 1.0, max_iter: int = 200
) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression by L-BFGS on all points at once.

    It minimises the sum of the cross-entropies plus `strength` / 2 times the squared weights, biases not included:
    scikit-learn's `LogisticRegression(C=1 / strength)`.

    Args:
        features: [N, D] float32 or float64.
        labels: [N] int64, 0 to C - 1.

    Returns:
        Weights [C, D] and biases [C].
    """
    weight = features.new_zeros(num_classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=max_iter, tolerance_grad=1e-6, tolerance_change=1e-10, history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(F.linear(features, weight, bias), labels)
        loss = loss + 0.5 * strength / len(features) * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad(), full_fp32():
        solver.step(objective)
    return weight.detach(), bias.detach()


class PatchLoop(FeatureLoop):
    """Collect the labelled patches of the memory, then segment the test images. A subclass gives `scores`.

    The model is `FrozenMaps`. Both data sets are mmseg's, with the test pipeline (labels loaded behind the resize). The
    evaluator is mmseg's `IoUMetric`.

    Args:
        options: see `FeatureLoop`.
        patches_per_image: so many labelled patches of each image are kept, drawn by the run's seed and its number;
            None: all.

    Raises:
        UserError: the classes differ, no patch of the memory is labelled, images are not padded to whole patches, or
            features are not finite.
    """

    unit = "patches"

    def __init__(self, *args: Any, patches_per_image: int | None = None, **options: Any):
        super().__init__(*args, **options)
        if patches_per_image is not None and not (type(patches_per_image) is int and patches_per_image > 0):
            raise UserError(f"{type(self).__name__}: got patches_per_image={patches_per_image!r}, expected an integer "
                            "above 0, or None for all")
        self.patches_per_image = patches_per_image

    @torch.inference_mode()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Segment a batch."""
        self.runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        maps, samples, padded = self._maps(data_batch)
        for map_, sample in zip(maps, samples):
            found = classes_of_pixels(self.scores(map_.flatten(1).T), (map_.shape[1], map_.shape[2]), padded,
                                      sample.metainfo["img_shape"], sample.metainfo["ori_shape"])
            sample.pred_sem_seg = PixelData(data=found)
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        self.runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _maps(self, batch: dict) -> tuple[Tensor, Any, tuple[int, int]]:
        """Return maps [B, D, h, w] float32, the samples, and height and width of the padded images."""
        model: Any = getattr(self.runner.model, "module", self.runner.model)
        data = model.data_preprocessor(batch, False)
        device = next(model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.amp):
            maps = model(data["inputs"]).float()
        padded = tuple(data["inputs"].shape[2:])
        patch = getattr(model.backbone, "patch_size", (1, 1))
        if any(side % cells or side % own for side, cells, own in zip(padded, maps.shape[2:], patch)):
            raise UserError(f"{type(self).__name__}: images are padded to {padded[0]} x {padded[1]} pixels, no "
                            f"multiple of the backbone's cells ({maps.shape[2]} x {maps.shape[3]}); set "
                            f"model.data_preprocessor.test_cfg.size_divisor to the side of a patch ({patch[0]})")
        finite = maps.flatten(1).isfinite().all(1)
        if not finite.all():
            path = data["data_samples"][finite.tolist().index(False)].img_path
            raise UserError(f"{type(self).__name__}: the features of {path} are not finite; look at the checkpoint")
        return maps, data["data_samples"], padded

    def labelled(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Return features [N, D] float32 of the labelled patches that are kept, and their classes [N] int64."""
        features, truths = [], []
        maps, samples, padded = self._maps(batch)
        for map_, sample, number in zip(maps, samples, self._numbers):
            kept, classes = labelled_patches(
                map_, sample.gt_sem_seg.data[0].to(map_.device).long(), sample.metainfo["img_shape"], padded,
                sample_seed(self.runner.seed, 0, number), self.patches_per_image)
            features.append(kept)
            truths.append(classes)
        return torch.cat(features), torch.cat(truths)

    def read_memory(self) -> tuple[Tensor, Tensor]:
        """Return features [N, D] float32 of the patches of the memory, and their classes [N] int64, on the device."""
        # Of the images, as the sampler shares them out. The order of the patches is another for each number of
        # processes; neither votes nor the regression depend on it.
        self._numbers = count(*get_dist_info())
        memory, labels = super().read_memory()
        if not len(labels):
            raise UserError(f"{type(self).__name__}: no patch of the memory has a labelled pixel: look at its labels")
        if int(labels.max()) >= len(self.classes):
            raise UserError(f"{type(self).__name__}: the memory has label {int(labels.max())}, but there are "
                            f"{len(self.classes)} classes")
        return memory, labels


@LOOPS.register_module()
class PatchKNNLoop(PatchLoop):
    """Segment by the nearest patches of the memory (`knn_votes`), on features of length 1; votes are made to sum to 1.

    Args:
        k: number of neighbours, at most the patches of the memory.
        temperature: of the votes.
        options: see `PatchLoop`.
    """

    def __init__(self, *args: Any, k: int = 20, temperature: float = 0.07, **options: Any):
        super().__init__(*args, **options)
        check_temperature(temperature, "PatchKNNLoop")
        self.k, self.temperature = k, temperature

    def fit(self, memory: Tensor, labels: Tensor) -> None:
        """Keep the memory."""
        if not 0 < self.k <= len(labels):
            raise UserError(f"PatchKNNLoop: got k={self.k} and {len(labels)} patches, expected 1 <= k <= that")
        super().fit(F.normalize(memory, dim=1), labels)

    def scores(self, features: Tensor) -> Tensor:
        """Return shares of the votes."""
        queries = F.normalize(features, dim=1)
        votes = knn_votes(queries, self.memory, self.labels, len(self.classes), self.k, self.temperature)
        return votes / votes.sum(1, keepdim=True)


@LOOPS.register_module()
class PatchLogisticLoop(PatchLoop):
    """Segment by a logistic regression on the patches of the memory (`fit_logistic`).

    Features are brought to mean 0 and std 1 in each channel, by the memory.

    Args:
        strength: of the penalty on squared weights.
        max_iter: steps of L-BFGS at most.
        options: see `PatchLoop`.
    """

    def __init__(self, *args: Any, strength: float = 1.0, max_iter: int = 200, **options: Any):
        super().__init__(*args, **options)
        if not strength >= 0 or not max_iter > 0:
            raise UserError(f"PatchLogisticLoop: got strength={strength!r} and max_iter={max_iter!r}, expected a "
                            "strength of 0 or more and at least one step")
        self.strength, self.max_iter = strength, max_iter

    def fit(self, memory: Tensor, labels: Tensor) -> None:
        """Fit weights [C, D] and biases [C]."""
        std, self.mean = torch.std_mean(memory, dim=0, correction=0)
        self.scale = 1 / std.clamp(min=1e-6)
        self.weight, self.bias = fit_logistic(
            (memory - self.mean) * self.scale, labels, len(self.classes), self.strength, self.max_iter)

    def scores(self, features: Tensor) -> Tensor:
        """Return logits."""
        return F.linear((features - self.mean) * self.scale, self.weight, self.bias)
