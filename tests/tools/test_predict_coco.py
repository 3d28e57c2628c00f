"""What tools/predict.py writes for COCO's server has the AP that the evaluator of the config gives."""
import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from own_tool import call_tool
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import area

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes

ROOT = Path(__file__).parents[2]
DET = ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py"
IDS = [90, 3, 17, 44, 1]


def evaluated(truth, path, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(truth)
        found = COCOeval(truth, truth.loadRes(path), kind)
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found.stats[:6]


def test_results_have_the_ap_of_the_evaluator(tmp_path, monkeypatch):
    """The JSON had neither image ids nor category ids, and lacked the scores below the threshold."""
    monkeypatch.chdir(tmp_path)
    counts = {"train": 1, "val": 3, "unlabelled": 0}
    make_scenes(Path("data/scenes"), SceneSet(counts=counts), workers=1, progress=False)
    cfg = Config.fromfile(DET)
    init_default_scope("mmdet")
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), "random.pth")
    # Ids of images and categories are no counts from 0 or 1, as in COCO.
    path = Path("data/scenes/annotations/instances_val.json")
    coco = json.loads(path.read_text())
    new = {category["id"]: IDS[k] for k, category in enumerate(coco["categories"])}
    for category in coco["categories"]:
        category["id"] = new[category["id"]]
    for image in coco["images"]:
        image["id"] += 139
    path.write_text(json.dumps({**coco, "annotations": []}))
    assert call_tool("predict", DET, "random.pth", "data/scenes/val", "data/scenes/train", "--out", "first") == 0
    # Part of what a random model finds is the truth, so that there is something to score.
    found = {kind: json.loads(Path(f"first/results.{kind}.json").read_text()) for kind in ("bbox", "segm")}
    truth = []
    for k, (box, mask) in enumerate(zip(found["bbox"], found["segm"])):
        assert box["image_id"] == mask["image_id"] and box["category_id"] == mask["category_id"]
        if k % 3 == 0 and area(mask["segmentation"]) > 0:
            shifted = [box["bbox"][0] + k % 4, *box["bbox"][1:]]
            truth.append(dict(id=k + 1, image_id=box["image_id"], category_id=box["category_id"], iscrowd=0,
                              bbox=shifted, area=float(area(mask["segmentation"])),
                              segmentation=mask["segmentation"]))
    path.write_text(json.dumps({**coco, "annotations": truth}))
    words = ["data/scenes/va*", "data/scenes/train", "--out", "out", "--score-thr", 0.9]
    assert call_tool("predict", DET, "random.pth", *words) == 0

    cfg.work_dir, cfg.load_from, cfg.visualizer = "run", "random.pth", dict(type="Visualizer", vis_backends=[])
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.custom_hooks, cfg.test_cfg = [], dict(type="TestLoop")
    metrics = Runner.from_cfg(cfg).test()
    names = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
    for kind in ("bbox", "segm"):
        expected = [metrics[f"coco/{kind}_{name}"] for name in names]
        assert expected[0] > 0.1
        assert evaluated(str(path), f"out/results.{kind}.json", kind) == pytest.approx(expected, abs=6e-4)  # 3 digits

    images = json.loads(Path("out/predictions.json").read_text())["images"]
    ids = [(entry["image_id"], entry["file_name"]) for entry in images]
    listed = [(image["id"], image["file_name"]) for image in coco["images"]]
    assert ids == [*listed, (None, "000000.jpg")]  # the last is of the training set, of the name of the first
    assert all(entry["detections"] == [] for entry in images)  # below 0.9
    assert {one["image_id"] for one in json.loads(Path("out/results.bbox.json").read_text())} == {i for i, _ in listed}
    assert call_tool("predict", DET, "random.pth", "data/scenes/train", "--out", "out", "--score-thr", 0.0) == 0
    assert not Path("out/results.bbox.json").exists()  # of no image that has an id
    (entry,) = json.loads(Path("out/predictions.json").read_text())["images"]
    categories = json.loads(path.read_text())["categories"]
    assert all(one["category_id"] == categories[one["label"]]["id"] for one in entry["detections"])
