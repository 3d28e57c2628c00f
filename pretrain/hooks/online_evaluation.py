"""OnlineEvaluationHook: what the encoder is worth while it trains, without any influence on the training."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torch.utils.data import DataLoader

from mimtransfer.checkpoints.channels import RGB
from mimtransfer.datasets.classification import LabelledImages, balanced_subset
from mimtransfer.draws import random_states_kept
from mimtransfer.errors import UserError
from mimtransfer.evaluation.accuracy import TopAccuracy
from mimtransfer.evaluation.pooling import check_pooling, pool
from mimtransfer.evaluation.probing.features import check_classes, read_features
from mimtransfer.evaluation.probing.knn import knn_votes
from mimtransfer.evaluation.probing.linear_sweep import LinearSweep
from mimtransfer.evaluation.probing.spread import COLLAPSED, Contrast, contrast, rankme
from mimtransfer.registry import DATASETS, HOOKS
from mimtransfer.results.provenance import EVALUATING, measuring
from mimtransfer.results.record_hook import RecordHook
from mimtransfer.training.loading import cores_of_process
from pretrain.hooks.online_patches import OnlinePatches
from pretrain.hooks.online_schedule import FAST, FULL, OnlineSchedule

_MAPS = 128  # images whose tokens are looked at
LINEAR_DEFAULTS = dict(lrs=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), weight_decays=(0.0, 1e-4, 1e-2),
                       optimizer=dict(type="LARS", momentum=0.9), epochs=90, warmup_epochs=10, batch_size=512)

# What `knn` and `linear` may hold.
KNN = ("k", "temperature")
LINEAR = ("lrs", "weight_decays", "optimizer", "epochs", "warmup_epochs", "batch_size", "held_out")


@HOOKS.register_module()
class OnlineEvaluationHook(Hook):
    """Score the encoder by labelled images of their own, at marks of the training: k-NN, linear probes, RankMe,
    contrast.

    A fast evaluation reads a class-balanced part of the images: `fast_knn_top1`, `rankme` of that part of the memory,
    `image_contrast` and `patch_contrast` of test images. A full one reads all of them and gives, besides, `knn_top1`
    and `linear_top1`: the same numbers as `KNNLoop` and `LinearSweepLoop` on the checkpoint of that epoch; with index
    maps `patch_knn_miou`, that of `PatchKNNLoop`. Each goes to TensorBoard, the JSON log and the record as
    `online/NAME`. Features that are nearly the same in all images, or in all patches, are warned of in one line.

    Weights, running statistics, random states and loaders of the training are left as they are: a run with the hook has
    the same weights, bit for bit, as one without.

    Args:
        memory_dataloader, test_dataloader: labelled images, as in the configs of frozen features; batch size, number of
            workers and data set are read.
        pooling: of the features, as of `FrozenFeatures`.
        knn: `k` and `temperature` of `knn_votes`.
        linear: arguments of `LinearSweep`; None: 7 learning rates x 3 weight decays by LARS, 90 epochs.
        fast, full, budget: see `OnlineSchedule`.
        fast_images: numbers of memory and test images of a fast evaluation.
        amp: features under bfloat16 autocast; None: as the training.
        patches: arguments of `OnlinePatches`; None: no patch k-NN.

    Raises:
        UserError: a value out of its range; before training begins: a run counted in iterations, an encoder of images
            that are not RGB or without what is pooled, other data sets than of labelled images, classes that differ, a
            memory smaller than k.
    """

    priority = "BELOW_NORMAL"  # after RecordHook has stopped its clock, before CheckpointHook saves what was logged

    def __init__(self, memory_dataloader: dict, test_dataloader: dict, pooling: str = "mean", knn: dict | None = None,
                 linear: dict | None = None, fast: float | None = 0.05, full: float | None = 0.5,
                 budget: float | None = 0.02, fast_images: Sequence[int] = (2000, 1000), amp: bool | None = None,
                 patches: dict | None = None):
        self.schedule = OnlineSchedule(fast, full, budget)
        self.loaders, self.pooling, self.amp = (memory_dataloader, test_dataloader), pooling, amp
        self.knn, self.fast_images = {"k": 20, "temperature": 0.07, **(knn or {})}, fast_images
        self.linear = linear or LINEAR_DEFAULTS
        if len(fast_images) != 2 or not all(type(number) is int and number > 0 for number in fast_images):
            raise UserError(f"OnlineEvaluationHook: got fast_images={fast_images!r}; expected the numbers of memory "
                            "and test images, both above 0")
        for name, given, known in (("knn", knn, KNN), ("linear", linear, LINEAR)):
            if unknown := set(given or ()) - set(known):
                raise UserError(f"OnlineEvaluationHook: {name} has {', '.join(sorted(unknown))}; expected "
                                f"{', '.join(known)}")
        if linear and (missing := {"lrs", "weight_decays", "optimizer"} - set(linear)):
            raise UserError(f"OnlineEvaluationHook: linear has no {', '.join(sorted(missing))}; expected all of "
                            "lrs, weight_decays and optimizer, or None")
        if type(self.knn["k"]) is not int or not _is_positive(self.knn["temperature"]):
            raise UserError(f"OnlineEvaluationHook: got k={self.knn['k']!r} and temperature="
                            f"{self.knn['temperature']!r}; expected an integer and a number above 0")
        self.patches = None if patches is None else OnlinePatches(**patches)
        self._is_collapsed = False

    def before_train(self, runner) -> None:
        """Find mistakes now and not after a share of the training; score the untrained encoder."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError("OnlineEvaluationHook: the training is counted in iterations; expected train_cfg with "
                            "max_epochs")
        self._method = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._encoder = self._method.encoder
        if self._method.in_chans != RGB:
            raise UserError(f"OnlineEvaluationHook: the encoder takes in_chans={self._method.in_chans}, the labelled "
                            "images are RGB; remove the hook")
        check_pooling(self._encoder, self.pooling, "OnlineEvaluationHook")
        if self.amp is None:
            self.amp = isinstance(runner.optim_wrapper, AmpOptimWrapper)
        with random_states_kept():
            self._images = [self._build(loader) for loader in self.loaders]
            memory, test = self._images
            self._classes = memory.metainfo["classes"]
            check_classes(test.metainfo["classes"], self._classes, "OnlineEvaluationHook")
            self._parts = [self._part(images, number) for images, number in zip(self._images, self.fast_images)]
            if not 0 < self.knn["k"] <= len(self._parts[0]):
                raise UserError(f"OnlineEvaluationHook: got k={self.knn['k']} and a memory of {len(self._parts[0])} "
                                "images for fast evaluations, expected 1 <= k <= that")
            self._sweep = LinearSweep(len(memory), **self.linear, owner="OnlineEvaluationHook")
            with _evaluated(self._encoder):
                self._maps(self._parts[1][:1])
                if self.patches:
                    self.patches.check(self._padded_map)
            self._dense = 0  # images of the test set that cost as much as those with index maps
            if self.patches:
                shown = next(iter(self._batches(1, self._parts[1][:1])))["inputs"][0, 0]
                self._dense = -(-self.patches.pixels() // shown.numel())
        self._marks = self._plan(runner)
        if runner.iter == 0:
            self._evaluate(runner, 0)

    def after_train_epoch(self, runner) -> None:
        """Score the encoder when it is time."""
        self._evaluate(runner, runner.epoch + 1)

    def _build(self, loader: dict) -> LabelledImages:
        images = DATASETS.build(loader["dataset"])
        if not isinstance(images, LabelledImages):
            raise UserError(f"OnlineEvaluationHook: got a data set of type {type(images).__name__}; expected labelled "
                            "images, e.g. ClassFolder or LabelledImageSource")
        return images

    def _part(self, images: LabelledImages, number: int) -> np.ndarray:
        """Return the places of the images of a fast evaluation, ascending."""
        return balanced_subset(images.labels[images.indices], min(number, len(images)), seed=0)

    def _seen_by_maps(self) -> np.ndarray:
        """Return the places of the test images whose tokens are looked at; they lie there class by class."""
        return self._parts[1][:: -(-len(self._parts[1]) // _MAPS)]

    def _plan(self, runner) -> dict[int, str]:
        loader = runner.train_dataloader
        trained = runner.max_epochs * len(loader) * (loader.batch_size or 1) * get_dist_info()[1]
        maps = len(self._seen_by_maps())  # read twice
        fast, full = (maps + sum(map(len, read)) for read in (self._parts, self._images))
        full += self._dense
        costs = {FAST: fast, FULL: full}
        marks = self.schedule.affordable(runner.max_epochs, trained, costs)
        asked, share = self.schedule.marks(runner.max_epochs), sum(costs[kind] for kind in marks.values()) / trained
        line = (f"OnlineEvaluationHook: {_count(marks, FAST)} fast evaluations of {fast} images and "
                f"{_count(marks, FULL)} full ones of {full}, {share:.1%} of the images that are trained")
        if marks != asked:
            line += (f"; asked for were {_count(asked, FAST)} and {_count(asked, FULL)}, more than budget="
                     f"{self.schedule.budget} allows (budget=None: any number)")
        runner.logger.info(line)
        return marks

    def _evaluate(self, runner, epochs: int) -> None:
        """Score the encoder and log it.

        Args:
            epochs: whole epochs that it was trained for.
        """
        kind = self._marks.get(epochs)
        if kind is None:
            return
        start = time.monotonic()
        with random_states_kept(), _evaluated(self._encoder):
            scores, spread = self._scores(kind, runner.seed)
        runner.message_hub.update_scalar(EVALUATING, time.monotonic() - start)
        for name, value in scores.items():
            runner.message_hub.update_scalar(name, value)
        if scores:
            runner.visualizer.add_scalars(scores, step=epochs)
        record = next((hook for hook in runner.hooks if isinstance(hook, RecordHook)), None)
        spent = measuring(runner.message_hub, None if record is None else record.wall_s)["online_evaluation"]
        share = "" if spent["share"] is None else f", {spent['share']:.1%} of the run's time"
        values = ", ".join(f"{name.removeprefix('online/')} {value:.4g}" for name, value in scores.items())
        runner.logger.info(f"online evaluation after {epochs} epochs ({kind}): {values}; evaluating has taken "
                           f"{spent['seconds']:.1f} s so far{share}")
        self._warn(runner, epochs, spread)

    def _warn(self, runner, epochs: int, spread: Contrast | None) -> None:
        """Say in one line that the features have collapsed since the last evaluation."""
        low = {} if spread is None else spread.collapsed
        if spread is None:
            runner.logger.warning(f"OnlineEvaluationHook: after {epochs} epochs the features are not finite")
        elif low and epochs and not self._is_collapsed:
            shares = " and ".join(f"over {name} is {value:.3%}" for name, value in low.items())
            runner.logger.warning(
                f"OnlineEvaluationHook: after {epochs} epochs the features have collapsed: their variance {shares} of "
                f"their mean square, below {COLLAPSED:.1%}, and probes and detectors find little in them "
                "(docs/online-evaluation.md)")
        self._is_collapsed = bool(low)

    def _scores(self, kind: str, seed: int) -> tuple[dict[str, float], Contrast | None]:
        """Return `online/NAME` -> value, and the contrast; nothing where the features are not finite."""
        read = self._parts if kind == FAST else [np.arange(len(images)) for images in self._images]
        (memory, labels), (test, truths) = (self._features(number, part) for number, part in enumerate(read))
        if not (memory.isfinite().all() and test.isfinite().all()):
            return {}, None
        first, second = (slice(None) if kind == FAST else torch.from_numpy(part) for part in self._parts)
        spread = self._maps(self._seen_by_maps())
        scores: dict[str, float | None] = {
            "fast_knn_top1": self._knn(memory[first], labels[first], test[second], truths[second]),
            "rankme": rankme(memory[first]), "image_contrast": spread.images, "patch_contrast": spread.patches}
        if kind == FULL:
            scores["knn_top1"] = self._knn(memory, labels, test, truths)
            heads, _ = self._sweep.fit(memory, labels, len(self._classes), seed)
            with torch.no_grad():
                scores["linear_top1"] = self._top1(heads(test)[:, 0], truths)
            if self.patches:
                scores["patch_knn_miou"] = self.patches.miou(self._padded_map, seed)
        return {f"online/{name}": value for name, value in scores.items() if value is not None}, spread

    @torch.no_grad()
    def _features(self, number: int, part: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return features [N, D] float32 and labels [N] int64 of images of the memory, 0, or the test images, 1, at N
        places; each rank reads a share.
        """
        rank, world_size = get_dist_info()
        return read_features(self._batches(number, part[rank::world_size]), self._labelled)

    def _batches(self, number: int, part: np.ndarray) -> DataLoader:
        size = self.loaders[number]["batch_size"]
        batches = -(-len(part) // size)  # more workers would have nothing to do
        workers = min(self.loaders[number].get("num_workers", 0), cores_of_process(), batches)
        # Its own generator: workers would be seeded from the one that training draws from.
        return DataLoader(self._images[number], size, sampler=part.tolist(), num_workers=workers,
                          generator=torch.Generator())

    def _labelled(self, batch: Mapping) -> tuple[Tensor, Tensor]:
        return self._encoded(batch, lambda images: pool(self._encoder, images, self.pooling)), batch["label"]

    def _encoded(self, batch: Mapping, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what `encode` makes of the normalised images [B, C, H, W], as float32."""
        images = self._method.data_preprocessor({"inputs": batch["inputs"]})["inputs"]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bool(self.amp)):
            return encode(images).float()

    @torch.no_grad()
    def _maps(self, part: np.ndarray) -> Contrast:
        """Return the contrast of the last maps [N, D, h, w] of the test images at N places."""
        return contrast(torch.cat([self._encoded(batch, lambda images: self._encoder(images)[-1])
                                   for batch in self._batches(1, part)]))

    def _padded_map(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the last map [B, D, h, w] of images [B, C, H, W], padded below and on the right to a size."""
        edges = (0, size[1] - images.shape[3], 0, size[0] - images.shape[2])
        return self._encoded({"inputs": images}, lambda normal: self._encoder(pad(normal, edges))[-1])

    def _knn(self, memory: Tensor, labels: Tensor, test: Tensor, truths: Tensor) -> float:
        votes = knn_votes(normalize(test, dim=1), normalize(memory, dim=1), labels,
                          len(self._classes), **self.knn)
        return self._top1(votes, truths)

    def _top1(self, scores: Tensor, truths: Tensor) -> float:
        metric = TopAccuracy(topk=(1,))
        metric.dataset_meta = self._images[1].metainfo
        metric.process({}, [{"pred_score": row, "gt_label": truth} for row, truth in zip(scores, truths.tolist())])
        return metric.compute_metrics(metric.results)["top1"]


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode; afterwards each part has the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _count(marks: Mapping[int, str], kind: str) -> int:
    return list(marks.values()).count(kind)
