"""Draw what a detector or segmentor finds, beside the ground truth: files under the run's `vis_data`."""
import io

import numpy as np
from mmengine.dist import is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from PIL import Image

from mimtransfer.registry import HOOKS


@HOOKS.register_module()
class PredictionPictureHook(Hook):
    """Draw the first images of the last validation and of every test with mmdet's or mmseg's own visualizer.

    Their own hooks draw every n-th image of every validation.

    Args:
        num_images: pictures of an evaluation.
        score_threshold: of the boxes that are drawn.
    """

    priority = "LOW"

    def __init__(self, num_images: int = 4, score_threshold: float = 0.3) -> None:
        self.num_images, self.score_threshold = num_images, score_threshold
        self._drawn = 0

    def before_val_epoch(self, runner) -> None:
        """Begin with the first image."""
        self._drawn = 0

    def before_test_epoch(self, runner) -> None:
        """Begin with the first image."""
        self._drawn = 0

    def after_val_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        """Draw when the training is over."""
        if runner.iter >= runner.max_iters:
            self._draw(runner, outputs)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: list | None = None
    ) -> None:
        """Draw."""
        self._draw(runner, outputs)

    def _draw(self, runner, samples: list) -> None:
        if not is_main_process():
            return
        for sample in samples[: self.num_images - self._drawn]:
            image = np.asarray(Image.open(io.BytesIO(get(sample.img_path))).convert("RGB"))
            # mmdet's takes a threshold; mmseg's can write names on every part, which hides small pictures.
            options = {"pred_score_thr": self.score_threshold} if "pred_instances" in sample else {"with_labels": False}
            runner.visualizer.add_datasample(f"prediction_{self._drawn}", image, sample, step=runner.iter, **options)
            self._drawn += 1
