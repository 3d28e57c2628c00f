"""PredictionPictureHook: which images are drawn, when, and with what."""
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import BaseLoop
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.training.hooks import PredictionPictureHook


def samples(folder, first, count, detector=True):
    made = []
    for k in range(first, first + count):
        Image.new("RGB", (3, 2), (k, 0, 9)).save(folder / f"{k}.png")
        made.append(BaseDataElement(metainfo={"img_path": str(folder / f"{k}.png")}))
        if detector:
            made[-1].set_field(InstanceData(), "pred_instances")
    return made


class Runner:
    """What of mmengine's the hook reads; its training data are loaded when the iteration is asked for."""

    max_iters = 8

    def __init__(self, iteration, **given):
        self.__dict__.update(given)
        self._train_loop = dict(type="IterBasedTrainLoop") if iteration is None else Mock(spec=BaseLoop)
        self._iteration = iteration

    @property
    def iter(self):
        assert self._iteration is not None, "loads the training data"
        return self._iteration


def runner(iteration):
    drawn = []

    def add_datasample(name, image, sample, step, **options):
        assert image.dtype == np.uint8 and image.shape == (2, 3, 3) and image[0, 0, 2] == 9
        drawn.append((name, int(image[0, 0, 0]), step, options))

    visualizer = SimpleNamespace(add_datasample=add_datasample, dataset_meta=None)
    loader = dict(dataset=dict(type="mmdet.CocoDataset"))
    cfg = Config(dict(val_dataloader=loader, test_dataloader=loader))
    return Runner(iteration, cfg=cfg, visualizer=visualizer), drawn


def test_only_the_last_validation(tmp_path):
    hook = PredictionPictureHook(num_images=3, score_threshold=0.4)
    for iteration, expected in ((4, []), (8, [0, 1, 2])):
        fake, drawn = runner(iteration)
        hook.before_val_epoch(fake)
        hook.after_val_iter(fake, 0, outputs=samples(tmp_path, 0, 2))
        hook.after_val_iter(fake, 1, outputs=samples(tmp_path, 2, 2))
        hook.after_val_iter(fake, 2, outputs=samples(tmp_path, 4, 2))
        assert drawn == [(f"prediction_{k}", k, 8, {"pred_score_thr": 0.4}) for k in expected]


@pytest.mark.parametrize(("iteration", "step"), [(None, 0), (8, 8)])
def test_every_test_and_segmentations_without_names(iteration, step, tmp_path):
    """A test alone leaves the training data alone."""
    fake, drawn = runner(iteration)
    hook = PredictionPictureHook(num_images=1)
    for _ in range(2):
        hook.before_test_epoch(fake)
        hook.after_test_iter(fake, 0, outputs=samples(tmp_path, 5, 2, detector=False))
    assert drawn == [("prediction_0", 5, step, {"with_labels": False})] * 2
