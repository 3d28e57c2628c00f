"""Learning curves from mmengine's scalars: by epoch, by iteration, over a resume."""
import json
import os

import pytest

from mimtransfer.results.curves import MAX_POINTS, read_curves


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


def test_long_curves_are_averaged(tmp_path):
    log(tmp_path, "20260101_000000", [{"loss": k / 7, "iter": k, "step": k} for k in range(1, 1001)])
    points = read_curves(tmp_path, {"epochs": None, "iters": 1000})["loss"]
    assert len(points) == MAX_POINTS and points[0] == [10, pytest.approx(5.5 / 7, rel=1e-5)] and points[-1][0] == 1000
