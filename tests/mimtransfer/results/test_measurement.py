"""Metrics under their names and in points, learning curves from mmengine's scalars, the cost meter on a clock that the
test moves.
"""
import json
import os

import numpy as np
import pytest
import torch

from mimtransfer.results import measurement
from mimtransfer.results.measurement import MAX_POINTS, CostMeter, num_images, read_curves


def test_coco_fractions_become_points():
    raw = {"coco/bbox_mAP": 0.312, "coco/bbox_mAP_50": 0.5, "coco/bbox_mAP_s": -1.0, "coco/segm_mAP": 0.29}
    assert measurement.standard_metrics(raw) == {
        "box_ap": {"value": 31.2, "unit": "points"},
        "box_ap50": {"value": 50.0, "unit": "points"},
        "mask_ap": {"value": 29.0, "unit": "points"},
    }


def test_segmentation_is_in_points_already():
    raw = measurement.raw_metrics(
        {"mIoU": np.float32(41.5), "aAcc": 80.25, "mAcc": float("nan"), "table": "| a |", "x": [1]}
    )
    assert raw == {"mIoU": 41.5, "aAcc": 80.25, "table": "| a |"}
    assert measurement.standard_metrics(raw) == {
        "miou": {"value": 41.5, "unit": "points"},
        "aacc": {"value": 80.25, "unit": "points"},
    }


def test_a_detector_that_finds_nothing_scores_zero():
    evaluator = [{"type": "mmdet.CocoMetric", "metric": ["bbox", "segm"]}, {"type": "DumpDetResults"}]
    assert measurement.without_detections({}, evaluator) == {"coco/bbox_mAP": 0.0, "coco/segm_mAP": 0.0}
    assert measurement.without_detections({"coco/bbox_mAP": 0.1}, evaluator) == {"coco/segm_mAP": 0.0}
    assert measurement.without_detections({}, {"type": "IoUMetric"}) == {}
    assert measurement.without_detections({}, {"type": "CocoMetric", "format_only": True}) == {}


def log(folder, time, lines):
    path = folder / time / "vis_data/scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_by_epoch_over_a_resume(tmp_path):
    def losses(first, last, value):
        return [{"lr": 1, "loss": value, "epoch": 1, "iter": k, "step": k} for k in range(first, last + 1)]

    path = log(tmp_path, "20260101_000000", [*losses(1, 5, 2.0), {"coco/bbox_mAP": 0.1, "time": 1, "step": 1}])
    path.write_text(path.read_text() + '{"loss": 1.')  # killed while it wrote
    log(tmp_path, "20260101_010000", [*losses(4, 8, 1.0), {"coco/bbox_mAP": 0.25, "time": 1, "step": 2}])
    curves = read_curves(tmp_path, {"epochs": 2, "iters": 8})
    assert curves == {
        "loss": [[k, 2.0 if k < 4 else 1.0] for k in range(1, 9)],
        "box_ap": [[4.0, 10.0], [8.0, 25.0]],
    }


def test_by_iteration_without_tests_and_other_runs(tmp_path):
    old = log(tmp_path, "20250101_000000", [{"loss": 9.0, "iter": 900, "step": 900}])
    os.utime(old, (1.7e9, 1.7e9))
    log(tmp_path, "20260101_000000", [{"loss": float("nan"), "iter": 1, "step": 1}, {"loss": 3.0, "iter": 2, "step": 2},
                                      {"mIoU": 40.0, "aAcc": 80.0, "step": 2}])
    log(tmp_path, "20260102_000000", [{"mIoU": 99.0, "step": 0}])  # a test knows no iteration
    curves = read_curves(tmp_path, {"epochs": None, "iters": 2}, since="2025-06-01T00:00:00+00:00")
    assert curves == {"loss": [[1, None], [2, 3.0]], "miou": [[2, 40.0]], "aacc": [[2, 80.0]]}


def test_a_resume_with_another_batch_moves_what_was_before(tmp_path):
    """Four iterations of 8 images are two of 16; the fifth and sixth were trained again."""
    loss = [{"loss": float(k), "iter": k, "step": k} for k in range(1, 7)]
    marker = {"resumed_from_iter": 4, "step": 2}
    log(tmp_path, "20260101_000000", [*loss, {"mIoU": 10.0, "step": 4}, {"mIoU": 12.0, "step": 6}])
    log(tmp_path, "20260102_000000", [marker, {"loss": 0.5, "iter": 3, "step": 3}, {"mIoU": 20.0, "step": 3}])
    curves = read_curves(tmp_path, {"epochs": None, "iters": 3})
    assert curves == {"loss": [[0.5, 1.0], [1, 2.0], [1.5, 3.0], [2, 4.0], [3, 0.5]], "miou": [[2, 10.0], [3, 20.0]]}


def test_evaluations_by_epoch_stay_where_they_are(tmp_path):
    loss = {"loss": 1.0, "iter": 8, "epoch": 1, "step": 8}
    log(tmp_path, "20260101_000000", [loss, {"coco/bbox_mAP": 0.1, "step": 1}])
    log(tmp_path, "20260102_000000", [{"resumed_from_iter": 8, "step": 4}, {**loss, "iter": 8, "epoch": 2},
                                      {"coco/bbox_mAP": 0.2, "step": 2}])
    curves = read_curves(tmp_path, {"epochs": 2, "iters": 8})
    assert curves == {"loss": [[4, 1.0], [8, 1.0]], "box_ap": [[4, 10.0], [8, 20.0]]}


def test_long_curves_are_averaged(tmp_path):
    log(tmp_path, "20260101_000000", [{"loss": k / 7, "iter": k, "step": k} for k in range(1, 1001)])
    points = read_curves(tmp_path, {"epochs": None, "iters": 1000})["loss"]
    assert len(points) == MAX_POINTS and points[0] == [10, pytest.approx(5.5 / 7, rel=1e-5)] and points[-1][0] == 1000


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make(warmup, iterations):
    clock = Clock()
    meter = CostMeter(warmup, clock=clock, wait=lambda: None)
    meter.begin(iterations)
    return meter, clock


def run(meter, clock, images, seconds):
    for count, duration in zip(images, seconds):
        clock.now += duration
        meter.iteration(count)


def test_warmup_validation_and_checkpoints_do_not_count():
    meter, clock = make(2, 100)
    meter.begin_epoch()
    run(meter, clock, [8, 8], [50.0, 30.0])  # warm-up
    run(meter, clock, [8, 8, 6], [1.0, 2.0, 1.5])
    meter.pause()
    clock.now += 1000.0  # saves a checkpoint
    run(meter, clock, [8], [7.0])  # its loading overlapped that
    run(meter, clock, [8], [1.0])
    meter.pause()
    meter.pause()
    clock.now += 500.0  # validates
    meter.begin_epoch()
    run(meter, clock, [8], [4.0])  # starts its workers: counts
    meter.pause()
    assert (meter.images, meter.seconds) == (8 + 8 + 6 + 8 + 8, 1 + 2 + 1.5 + 1 + 4)
    assert meter.images_per_s == 38 / 9.5
    assert meter.wall_s == 50 + 30 + 4.5 + 1000 + 8 + 500 + 4
    assert meter.iterations == 8


@pytest.mark.parametrize(("iterations", "measured"), [(1, 1), (3, 3), (4, 3), (8, 6), (100, 90)])
def test_short_runs_have_a_short_warmup(iterations, measured):
    meter, clock = make(10, iterations)
    meter.begin_epoch()
    run(meter, clock, [2] * iterations, [1.0] * iterations)
    meter.pause()
    assert (meter.images, meter.seconds) == (2 * measured, measured)
    assert meter.images_per_s == 2.0


def test_nothing_measured_is_none():
    meter, _ = make(10, 0)
    assert meter.images_per_s is None and meter.peak_memory_bytes > 1 << 20


def test_the_next_process_goes_on():
    first, clock = make(0, 3)
    first.begin_epoch()
    run(first, clock, [4, 4, 4], [1.0, 1.0, 1.0])
    first.pause()
    second, clock = make(0, 2)
    second.resume(first.state())
    clock.now += 10.0
    second.begin_epoch()
    run(second, clock, [4, 4], [2.0, 2.0])
    second.pause()
    assert second.images_per_s == 20 / 7 and second.wall_s == 3 + 14
    assert second.peak_memory_bytes >= first.peak_memory_bytes


IMAGE = torch.zeros(3, 4, 4)


@pytest.mark.parametrize(
    "batch",
    [
        {"inputs": torch.zeros(5, 3, 4, 4), "record": ()},
        {"inputs": [IMAGE] * 5, "data_samples": [None] * 5},
        {"inputs": {"sup": [IMAGE] * 2, "unsup": [IMAGE] * 3}},
        (torch.zeros(5, 3, 4, 4), torch.zeros(5)),
        [torch.zeros(5, 3, 4, 4), torch.zeros(5)],
        [{"img": IMAGE}] * 5,
        torch.zeros(5, 3, 4, 4),
    ],
)
def test_images_of_a_batch(batch):
    assert num_images(batch) == 5


def test_the_peak_is_asked_for_before_it_is_reset_and_not_in_each_iteration(monkeypatch):
    asked = []
    monkeypatch.setattr("mimtransfer.results.measurement.peak_memory", lambda: asked.append(1) or 7 * len(asked))
    meter, clock = make(0, 6)
    meter.begin_epoch()
    run(meter, clock, [1, 1, 1], [1.0, 1.0, 1.0])
    assert not asked
    meter.see_peak()
    meter.see_peak()  # nothing ran since
    assert len(asked) == 1
    run(meter, clock, [1], [1.0])
    meter.pause()
    assert meter.peak_memory_bytes == 14 and len(asked) == 2
