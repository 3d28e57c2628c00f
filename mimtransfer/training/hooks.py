"""Hooks that several kinds of runs share: re-seed each iteration, draw predictions."""
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from PIL import Image

from mimtransfer.datasets.bands import read_bands, show_bands
from mimtransfer.datasets.configured import bands_of, leaves
from mimtransfer.datasets.palette import palette_of
from mimtransfer.openmmlab import class_colours
from mimtransfer.registry import HOOKS
from mimtransfer.training.drawn_detections import DrawnFile, best_detections, enlarged, enlargement


@HOOKS.register_module()
class PredictionPictureHook(Hook):
    """Draw the first images of the last validation and of every test with mmdet's or mmseg's own visualizer.

    Their own hooks draw every n-th image of every validation. `predictions.json`, beside the folder of the images,
    says which image each shows, and of a detector the rule and the scores of what is drawn.

    Args:
        num_images: images of an evaluation.
        score_threshold: boxes with a higher score are drawn.
        num_best: so many boxes of an image are drawn whatever their score: a weak detector has none above a threshold.
    """

    priority = "LOW"

    def __init__(self, num_images: int = 4, score_threshold: float = 0.3, num_best: int = 5) -> None:
        self.num_images, self.score_threshold, self.num_best = num_images, score_threshold, num_best
        self._in_chans: int | None = None  # of images that are not RGB

    def before_val_epoch(self, runner) -> None:
        """Begin with the first image."""
        self._begin(runner, runner.cfg.val_dataloader)

    def before_test_epoch(self, runner) -> None:
        """Begin with the first image."""
        self._begin(runner, runner.cfg.test_dataloader)

    def _begin(self, runner, loader: dict) -> None:
        """Set the colours that `tools/predict.py` has; mmdet's go by the position of a class, not by its name."""
        self._drawn, self._file = 0, DrawnFile(Path(runner.log_dir, "vis_data"))
        dataset = next(leaves(loader["dataset"]))
        self._in_chans = bands_of(dataset)
        runner.visualizer.dataset_meta = {**(runner.visualizer.dataset_meta or {}), "palette": palette_of(dataset)}
        class_colours.install()

    def after_val_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs: Any = None) -> None:
        """Draw when the training is over."""
        if runner.iter >= runner.max_iters:
            self._draw(runner, outputs)

    def after_test_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs: Any = None) -> None:
        """Draw."""
        self._draw(runner, outputs)

    def _draw(self, runner, samples: list) -> None:
        if not is_main_process():
            return
        # Of a test alone there is no iteration: asked for it, mmengine would load the training data.
        step = runner.iter if isinstance(runner._train_loop, BaseLoop) else 0
        for sample in samples[: self.num_images - self._drawn]:
            content = get(sample.img_path)
            if self._in_chans is not None:
                image = show_bands(read_bands(content, self._in_chans))
            else:
                image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            name = f"prediction_{self._drawn}"
            entry: dict[str, Any] = {"image": Path(sample.img_path).name}
            options: dict[str, Any] = {"with_labels": False}  # mmseg's: names on every part would hide small images
            if "pred_instances" in sample:
                sample, found = sample.cpu(), sample.pred_instances  # a copy, whose instances are replaced
                best = best_detections(sample.pred_instances, self.score_threshold, self.num_best)
                sample.pred_instances = best
                factor = enlargement(image.shape[1], image.shape[0])
                image, sample = image.repeat(factor, 0).repeat(factor, 1), enlarged(sample, factor)
                options = {"pred_score_thr": -1.0}  # they are chosen here
                entry |= {"score_threshold": self.score_threshold, "num_best": self.num_best, "found": len(found),
                          "scores": [round(score, 4) for score in best.scores.tolist()]}
            entry["width"] = image.shape[1]  # where the ground truth ends, if there is one
            runner.visualizer.add_datasample(name, image, sample, step=step, **options)
            self._file.add(f"{name}_{step}", **entry)
            self._drawn += 1


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed python, numpy and torch from (run seed, rank, iteration) before each training iteration.

    Data and masks have their own stateless randomness (`mimtransfer/draws.py`); this covers what is left, such as drop
    path. A resumed run goes on like an uninterrupted one, without generator states in the checkpoint. Once an epoch
    would not do: a data loader draws from torch's generator when its workers start, which is in another epoch after a
    resume.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed; see the class."""
        seed_process(runner.seed or 0, get_rank(), runner.iter)


def seed_process(*numbers: int) -> None:
    """Seed python, numpy and torch from some numbers, on the device as well."""
    words = np.random.SeedSequence(numbers).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]))
    seed = int(words[1])
    if torch.backends.mps.is_available() or torch.xpu.is_available():
        torch.manual_seed(seed)
        return
    # The same, which would cost a step half a millisecond to look for other devices and to note who asked.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
