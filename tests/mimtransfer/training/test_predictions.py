"""PredictionPictureHook: which images are drawn, when, and with what."""
import json
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import BaseLoop
from mmengine.structures import BaseDataElement, InstanceData
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.openmmlab import class_colours
from mimtransfer.training.drawn_detections import best_detections, enlarged, enlargement
from mimtransfer.training.hooks import PredictionPictureHook


def samples(folder, first, count, detector=True):
    made = []
    for k in range(first, first + count):
        Image.new("RGB", (3, 2), (k, 0, 9)).save(folder / f"{k}.png")
        made.append(BaseDataElement(metainfo={"img_path": str(folder / f"{k}.png")}))
        if detector:
            found = InstanceData(bboxes=torch.ones(3, 4), scores=torch.tensor([0.1, 0.5, 0.2]), labels=torch.arange(3))
            made[-1].set_field(found, "pred_instances")
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


def runner(iteration, folder):
    drawn = []

    def add_datasample(name, image, sample, step, **options):
        size = (342, 513, 3) if "pred_instances" in sample else (2, 3, 3)
        assert image.dtype == np.uint8 and image.shape == size and image[0, 0, 2] == 9
        scores = [round(score, 2) for score in sample.pred_instances.scores.tolist()] if size[0] > 2 else []
        drawn.append((name, int(image[0, 0, 0]), step, options, scores))

    visualizer = SimpleNamespace(add_datasample=add_datasample, dataset_meta=None)
    loader = dict(dataset=dict(type="mmdet.CocoDataset"))
    cfg = Config(dict(val_dataloader=loader, test_dataloader=loader))
    return Runner(iteration, cfg=cfg, visualizer=visualizer, log_dir=str(folder / "t")), drawn


def test_only_the_last_validation(tmp_path):
    hook = PredictionPictureHook(num_images=3, score_threshold=0.4, num_best=2)
    for iteration, expected in ((4, []), (8, [0, 1, 2])):
        fake, drawn = runner(iteration, tmp_path)
        hook.before_val_epoch(fake)
        hook.after_val_iter(fake, 0, outputs=samples(tmp_path, 0, 2))
        hook.after_val_iter(fake, 1, outputs=samples(tmp_path, 2, 2))
        hook.after_val_iter(fake, 2, outputs=samples(tmp_path, 4, 2))
        assert drawn == [(f"prediction_{k}", k, 8, {"pred_score_thr": -1.0}, [0.5, 0.2]) for k in expected]
    images = json.loads((tmp_path / "t/vis_data/predictions.json").read_text())["images"]
    assert list(images) == ["prediction_0_8", "prediction_1_8", "prediction_2_8"]
    assert images["prediction_1_8"] == {
        "image": "1.png", "width": 513, "score_threshold": 0.4, "num_best": 2, "found": 3,
        "scores": [0.5, 0.2]}  # fmt: skip


@pytest.mark.parametrize(("iteration", "step"), [(None, 0), (8, 8)])
def test_every_test_and_segmentations_without_names(iteration, step, tmp_path):
    """A test alone leaves the training data alone."""
    fake, drawn = runner(iteration, tmp_path)
    hook = PredictionPictureHook(num_images=1)
    for _ in range(2):
        hook.before_test_epoch(fake)
        hook.after_test_iter(fake, 0, outputs=samples(tmp_path, 5, 2, detector=False))
    assert drawn == [("prediction_0", 5, step, {"with_labels": False}, [])] * 2
    images = json.loads((tmp_path / "t/vis_data/predictions.json").read_text())["images"]
    assert images == {f"prediction_0_{step}": {"image": "5.png", "width": 3}}


@pytest.mark.parametrize(("threshold", "at_least", "expected"), [
    (0.3, 0, [0.9, 0.5]), (0.3, 3, [0.9, 0.5, 0.2]), (0.95, 2, [0.9, 0.5]), (0.3, 9, [0.9, 0.5, 0.2, 0.01]),
])  # fmt: skip
def test_the_best_detections_are_drawn_however_weak(threshold, at_least, expected):
    found = InstanceData(scores=torch.tensor([0.2, 0.9, 0.01, 0.5]), labels=torch.arange(4))
    best = best_detections(found, threshold, at_least)
    assert best.scores.tolist() == pytest.approx(expected)
    assert best.labels.tolist() == [1, 3, 0, 2][: len(expected)]
    assert len(best_detections(found[:0], threshold, at_least)) == 0


def test_small_images_are_enlarged_with_boxes_and_masks():
    from mmdet.structures.mask import BitmapMasks

    assert [enlargement(*size) for size in ((96, 64), (511, 10), (512, 512), (800, 1333))] == [6, 2, 1, 1]
    sample = BaseDataElement()
    mask = np.array([[[0, 1], [0, 0]]], np.uint8)
    truth = InstanceData(bboxes=torch.tensor([[1.0, 0, 2, 1]]), masks=BitmapMasks(mask, 2, 2))
    found = InstanceData(bboxes=torch.tensor([[0.5, 0, 2, 1]]), masks=torch.from_numpy(mask).bool())
    sample.set_field(truth, "gt_instances")
    sample.set_field(found, "pred_instances")
    larger = enlarged(sample, 3)
    assert larger.gt_instances.bboxes.tolist() == [[3, 0, 6, 3]]
    assert larger.pred_instances.bboxes.tolist() == [[1.5, 0, 6, 3]]
    expected = np.kron(mask, np.ones((1, 3, 3), np.uint8))
    assert np.array_equal(larger.gt_instances.masks.masks, expected)
    assert np.array_equal(larger.pred_instances.masks.numpy(), expected)
    assert sample.gt_instances.bboxes.tolist() == [[1, 0, 2, 1]] and sample.gt_instances.masks.height == 2


def test_masks_have_the_colour_of_their_class():
    """mmdet alone draws each mask in a random shade, another one in each image."""
    drawing = pytest.importorskip("mmdet.visualization.local_visualizer")
    class_colours.install()
    visualizer = drawing.DetLocalVisualizer(alpha=1.0)
    masks = torch.zeros(1, 40, 40, dtype=torch.bool)
    masks[0, 10:30, 10:30] = True
    found = InstanceData(masks=masks, labels=torch.tensor([1]), bboxes=torch.tensor([[2.0, 2, 38, 38]]))
    image = visualizer._draw_instances(np.zeros((40, 40, 3), np.uint8), found, ["a", "b"], [(9, 9, 9), (10, 200, 30)])
    assert image[25, 25].tolist() == [10, 200, 30]
    assert sys.modules["mmdet.visualization.local_visualizer"].jitter_color((1, 2, 3)) == (1, 2, 3)
