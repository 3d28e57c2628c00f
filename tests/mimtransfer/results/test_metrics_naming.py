"""Names and units: what mmdet and mmseg report becomes points in 0 to 100; labels come from configs."""
import numpy as np
import pytest
from mmengine.config import Config

from mimtransfer.errors import UserError
from mimtransfer.results import description, measurement


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


@pytest.mark.parametrize(
    ("method", "strategy", "label"),
    [
        ("MAE", "RandomMasking", "MAE"),
        ("SimMIM", "FAMTMasking", "SimMIM + FAMT"),
        ("MFM", None, "MFM"),
        ("MAE", "BlockMasking", "MAE + Block"),
        ("BEiT", "BlockMasking", "BEiT"),
        ("BEiT", "RandomMasking", "BEiT + Random"),
    ],
)
def test_label(method, strategy, label):
    model = {"type": f"mimtransfer.{method}", "strategy": {"type": strategy} if strategy else None}
    assert description.method_of({"model": model}) == (method, strategy)
    assert description.label_of(method, strategy) == label


def test_label_of_a_corruption():
    for corruption, label in (("FrequencyMasking", "MFM"), ("Blur", "MFM + Blur")):
        names = description.method_of({"model": {"type": "MFM", "corruption": {"type": corruption}}})
        assert names == ("MFM", corruption) and description.label_of(*names) == label


def test_task():
    backbone = {"type": "TimmViT"}
    assert description.task_of({"model": {"backbone": backbone, "roi_head": {}}}) == "detection"
    assert description.task_of({"model": {"backbone": backbone, "bbox_head": {}}}) == "detection"
    assert description.task_of({"model": {"backbone": backbone, "decode_head": {}}}) == "segmentation"
    assert description.task_of({"model": {"encoder": backbone}}) == "pretrain"
    assert description.task_of({"model": {"roi_head": {}}, "task": "tracking"}) == "tracking"
    with pytest.raises(UserError, match=r"parts \['backbone', 'type'\]: set `task"):
        description.task_of({"model": {"type": "Odd", "backbone": backbone}})


def test_data_set_and_protocol_in_words(tmp_path):
    inner = {"type": "mimtransfer.ImageFolder", "data_root": "/mnt/camvid/"}
    cfg = {"train_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": inner}}}
    assert description.dataset_of(cfg, 701) == "ImageFolder camvid, 701 images"
    assert description.protocol_of(Config({"protocol": "vitdet"}, filename=None)) == "vitdet"
    (tmp_path / "small.py").write_text("x = 1")
    assert description.protocol_of(Config.fromfile(tmp_path / "small.py")) == "small"
    assert description.protocol_of(Config({})) == "unnamed"
