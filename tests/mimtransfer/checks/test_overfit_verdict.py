"""--overfit judges by what can be learned, and names the most likely cause of a failure."""
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bad_data import Boxes
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import METRICS
from mmengine.structures import InstanceData, PixelData

import mimtransfer  # noqa: F401
from mimtransfer.checks import overfit, overfit_verdict
from mimtransfer.checks.overfit_verdict import Evidence, likely_cause, verdict
from mimtransfer.cli.launch import enter_scope
from mimtransfer.errors import UserError

SCALE = 2  # of the pipelines below: the network sees twice the pixels


def prepared(tmp_path, small_sides, num_images=2):
    """Prepare a detection config whose images have two objects of 20 pixels each, and one of each small side."""
    (tmp_path / "set").mkdir()
    data = Boxes(tmp_path / "set")
    for im in data.train["images"]:
        for k, side in enumerate(small_sides):
            data.train["annotations"].append(dict(
                id=1000 + 10 * im["id"] + k, image_id=im["id"], category_id=1, bbox=[6 * k, 36, side, side],
                area=side * side, iscrowd=0, segmentation=[]))
    resize = dict(type="mmdet.Resize", scale_factor=float(SCALE), keep_ratio=True)
    pipeline = [dict(type="LoadImageFromFile"), resize, dict(type="mmdet.LoadAnnotations", with_bbox=True), dict(
        type="mmdet.PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"))]
    for split in ("train", "val"):
        data.cfg[f"{split}_dataloader"]["batch_size"] = 2
        data.dataset(split)["pipeline"] = pipeline
    data.cfg.update(default_hooks={}, optim_wrapper={}, work_dir=str(tmp_path / "run"), task="detection")
    cfg = Config.fromfile(data.write())
    enter_scope(cfg)
    return cfg, overfit.set_overfit(cfg, num_images)


def score(cfg, finds):
    """Evaluate a detector that finds the objects of the training images for which `finds` is true of their boxes."""
    coco = json.loads(Path(cfg.train_dataloader.dataset.ann_file).read_text())
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dict(classes=("ant", "bee"))
    for im in coco["images"]:
        found = [a for a in coco["annotations"] if a["image_id"] == im["id"] and finds(*a["bbox"])]
        boxes = torch.tensor([a["bbox"] for a in found], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        sample = DetDataSample(metainfo=dict(img_id=im["id"], ori_shape=(48, 64)))
        sample.pred_instances = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)), labels=torch.tensor(
            [a["category_id"] - 1 for a in found]))
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(coco["images"]))["coco/bbox_mAP_50"]


def test_objects_of_a_few_pixels_do_not_count_for_the_goal(tmp_path):
    """A detector that had learned all that it can see failed: AP50 66.8 here, 85 expected."""
    cfg, note = prepared(tmp_path, small_sides=(2, 3))
    assert score(cfg, lambda x, y, w, h: w >= 4) == 1.0
    assert score(cfg, lambda x, y, w, h: True) == 1.0  # finding them is no mistake either
    assert score(cfg, lambda x, y, w, h: x > 30) == 0.5  # the others, here those of a class, are still asked for
    assert note == ("4 of 8 objects are under 8 pixels in the network's input and do not count for the goal: 4 ant")
    trained = json.loads(Path(cfg.train_dataloader.dataset.ann_file).read_text())
    assert len(trained["annotations"]) == 8 and not any(a["iscrowd"] for a in trained["annotations"])


def test_the_size_is_that_in_the_network(tmp_path):
    cfg, note = prepared(tmp_path, small_sides=(4,))  # 8 pixels there
    assert note == "" and cfg.val_evaluator.ann_file == cfg.train_dataloader.dataset.ann_file


def test_images_of_small_objects_only_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(overfit, "SMALLEST", 41)
    with pytest.raises(UserError, match=r"all 4 objects in the chosen images .* are under 41 pixels"):
        prepared(tmp_path, small_sides=())


@pytest.mark.parametrize("iterations", [0, -1])
def test_iterations_are_at_least_one(tmp_path, iterations):
    cfg, _ = prepared(tmp_path, small_sides=())
    with pytest.raises(UserError, match=f"--overfit-iters {iterations}: expected at least 1"):
        overfit.set_overfit(cfg, 1, iterations)


FALLING = [10.0 * 0.95**k for k in range(100)]
SOUND = Evidence(scores=[0.4, 0.5, 0.5], sizes={}, losses=FALLING, labels=None, not_optimised=[], lr=1e-3)
CAUSES = {
    "labels": (dict(labels="labels 0 to 5 in an image"), "labels 0 to 5 in an image"),
    "no lr group": (dict(not_optimised=["head.weight", "head.bias"]), "2 parameters are in no lr group"),
    "flat": (dict(losses=[2.0] * 100), "the loss does not fall (2 at first, 2 at last): lr 0.001 is too low"),
    "rising": (dict(losses=[2.0 + k for k in range(100)]), "lr 0.001 is too high"),
    "not finite": (dict(losses=[2.0] * 90 + [math.nan] * 10), "lr 0.001 is too high"),
    "small only": (dict(sizes={"small": 0.05, "medium": 0.9}), "only small objects are not learned (box AP: small 5.0, "
                   "medium 90.0)"),
    "nothing": (dict(scores=[0.0, 0.0]), "training and evaluation disagree"),
    "none": (dict(scores=[]), "training and evaluation disagree"),
    "climbing": (dict(scores=[0.3, 0.6]), "too few iterations, for the score still climbs"),
    "unknown": (dict(sizes={"small": 0.4, "large": 0.5}), "box AP by size: small 40.0, large 50.0; look at"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_most_likely_cause(name):
    """One line of suspects was all that was said, whatever had happened."""
    change, says = CAUSES[name]
    assert says in likely_cause(SOUND._replace(**change))


class Head(torch.nn.Module):
    """A model as far as the verdict looks into it."""

    def __init__(self):
        super().__init__()
        self.bbox_head = torch.nn.Linear(2, 2)
        self.bbox_head.num_classes = 2


def runner(labels, optimised=("bbox_head.weight", "bbox_head.bias"), maps=False):
    """Return what a Runner has at the end of a run whose score was 0.1, then 0.2, and whose loss fell."""
    model, hub = Head(), MessageHub("verdict")
    for value in FALLING:
        hub.update_scalar("train/loss", value)
    for value in (0.1, 0.2):
        hub.update_scalar("val/coco/bbox_mAP_50", value)
    hub.update_scalar("val/coco/bbox_mAP_s", -1)
    hub.update_scalar("val/coco/bbox_mAP_l", 0.15)
    samples = []
    for of_image in labels:
        sample = DetDataSample()
        if maps:
            sample.gt_sem_seg = PixelData(data=torch.tensor(of_image).reshape(1, 1, -1))
        else:
            sample.gt_instances = InstanceData(labels=torch.tensor(of_image, dtype=torch.long))
        samples.append(dict(data_samples=sample))
    groups = [dict(params=[p], lr=0.0, initial_lr=0.01) for name, p in model.named_parameters() if name in optimised]
    return SimpleNamespace(
        cfg=Config(dict(default_scope="mmdet")), message_hub=hub, iter=100, model=model,
        train_dataloader=SimpleNamespace(dataset=samples),
        optim_wrapper=SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups)))


@pytest.mark.parametrize("args, says", [
    (dict(labels=[[0, 1], [1]]), "too few iterations"),
    (dict(labels=[[0, 1], [2]]), "labels 2 to 2 in an image, but the model has 2 classes"),
    (dict(labels=[[], []]), "no image has a label behind the pipeline"),
    (dict(labels=[[255, 255]], maps=True), "no image has a label behind the pipeline"),
    (dict(labels=[[0, 255, 7]], maps=True), "labels 0 to 7 in an image, but the model has 2 classes"),
    (dict(labels=[[1]], optimised=["bbox_head.weight"]), "1 parameters are in no lr group, or in one with lr 0, the "
     "first is 'bbox_head.bias'"),
])
def test_the_evidence_is_that_of_the_run(args, says):
    passed, line = verdict(runner(**args), "4 of 8 objects")
    assert not passed and "\n" not in line
    assert line.startswith("overfit: FAILED: box AP50 20.0 on the ") and line.endswith("; 4 of 8 objects")
    assert f"; most likely: {says}" in line


def test_ap_of_sizes_that_do_not_occur_is_left_out():
    seen = overfit_verdict.gather(runner([[0]]), [0.1, 0.2])
    assert seen.sizes == {"large": 0.15} and seen.lr == 0.01 and seen.losses == FALLING


@pytest.mark.parametrize("score, passes, says", [
    (69.9, False, "overfit: FAILED: mIoU 69.9 on the 1 images it was trained on after 100 iterations, expected 70; "),
    (70.0, True, "overfit: passed: mIoU 70.0 on the 1 images it was trained on after 100 iterations (goal 70)"),
])
def test_the_goal_of_segmentation(score, passes, says):
    run = runner([[0, 1]], maps=True)
    run.cfg.default_scope = "mmseg"
    run.message_hub.update_scalar("val/mIoU", score)
    passed, line = verdict(run)
    assert passed == passes and line.startswith(says)
