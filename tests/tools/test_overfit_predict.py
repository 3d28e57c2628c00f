"""tools/train.py --overfit, then tools/predict.py with what it wrote, on scenes: end to end through the tools."""
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from pycocotools.mask import decode

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.checks import overfit
from mimtransfer.cli.prediction_files import PredictionsFile
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.errors import UserError

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
SEG = str(ROOT / "configs/segmentation/upernet_vit-demo_scenes.py")
VITDET = str(ROOT / "configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py")
WORKERS = [f"{split}_dataloader.{key}" for split in ("train", "val")
           for key in ("num_workers=0", "persistent_workers=False")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with data/scenes."""
    out = tmp_path_factory.mktemp("overfit")
    counts = {"train": 6, "val": 2, "unlabelled": 0}
    make_scenes(out / "data/scenes", SceneSet(counts=counts), workers=1, progress=False)
    return out


@pytest.fixture(scope="module")
def checkpoint(folder):
    """A checkpoint of the segmentation of scenes, as it is initialised."""
    cfg = Config.fromfile(SEG)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), folder / "initialised.pth")
    return folder / "initialised.pth"


def prepared(path, folder, monkeypatch, num_images=3):
    monkeypatch.chdir(folder)
    cfg = Config.fromfile(path)
    cfg.work_dir = "prepared"
    init_default_scope(cfg.default_scope)
    overfit.set_overfit(cfg, num_images)
    return cfg


def test_a_detection_config_trains_and_evaluates_on_the_same_images(folder, monkeypatch):
    cfg = prepared(DET, folder, monkeypatch)
    coco = json.loads(Path("prepared/overfit_3.json").read_text())
    whole = json.loads(Path("data/scenes/annotations/instances_train.json").read_text())
    ids = {im["id"] for im in coco["images"]}
    assert len(ids) == 3 and {a["image_id"] for a in coco["annotations"]} == ids
    assert coco["annotations"] == [a for im in coco["images"] for a in whole["annotations"]
                                               if a["image_id"] == im["id"]]
    files = {cfg.train_dataloader.dataset.ann_file, cfg.val_dataloader.dataset.ann_file, cfg.val_evaluator.ann_file}
    assert files == {str(folder / "prepared/overfit_3.json")}
    assert cfg.val_dataloader.dataset.data_prefix.img == "train/"
    resize = next(step for step in cfg.train_dataloader.dataset.pipeline if step["type"] == "RandomResize")
    assert resize["ratio_range"] == (1.0, 1.0) and resize["scale"] == (64, 64)
    assert "mimtransfer.RecordHook" not in [hook["type"] for hook in cfg.custom_hooks]


def test_a_full_scale_config_loses_what_works_against_learning_by_heart(folder, monkeypatch):
    monkeypatch.setattr(overfit, "_coco_subset", lambda *args: "")
    cfg = prepared(VITDET, folder, monkeypatch, num_images=8)
    steps = [step["type"] for step in cfg.train_dataloader.dataset.pipeline]
    assert "RandomFlip" not in steps and "RandomCrop" in steps
    assert cfg.model.backbone.drop_path_rate == 0 and not cfg.auto_scale_lr.enable
    assert cfg.train_dataloader.batch_size == 4 and cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.train_cfg == dict(type="IterBasedTrainLoop", max_iters=600, val_interval=100)
    assert cfg.param_scheduler[-1]["end"] == 600


def test_segmentation_images_are_spread_over_the_set(folder, monkeypatch):
    cfg = prepared(SEG, folder, monkeypatch)
    assert cfg.train_dataloader.dataset.indices == [0, 2, 4] == cfg.val_dataloader.dataset.indices
    assert cfg.val_dataloader.dataset.pipeline != cfg.train_dataloader.dataset.pipeline
    assert cfg.model.decode_head.dropout_ratio == 0


@pytest.mark.parametrize("path, count, text", [
    (DET, 7, "has only"), (DET, 0, "expected at least 1"),
    (str(ROOT / "configs/classification/finetune_vit-tiny-p4_5e_cifar10.py"), 2, "of task 'classification'"),
])
def test_what_cannot_be_overfitted(folder, monkeypatch, path, count, text):
    with pytest.raises(UserError, match=text):
        prepared(path, folder, monkeypatch, num_images=count)


def test_detection_from_overfit_to_predictions(call):
    args = ["--overfit", 2, "--overfit-iters", 3, "--cfg-options", *WORKERS]
    assert call("train", DET, *args) == 1  # three steps learn nothing
    work_dir = Path("work_dirs/mask-rcnn_vit-demo_scenes_overfit2")
    log = "\n".join(path.read_text() for path in work_dir.glob("*/*.log"))
    assert "overfit: FAILED: box AP50" in log and "on the 2 images it was trained on after 3 iterations" in log
    assert "trained on after 3 iterations, expected 85; " in log
    assert not (work_dir / "result.json").exists()

    Image.new("RGB", (2000, 5)).save("narrow.png")
    assert call("predict", DET, work_dir / "iter_3.pth", "narrow.png", "--out", "narrow") == 0
    assert len(json.loads(Path("narrow/predictions.json").read_text())["images"]) == 1
    images = ["data/scenes/val", "data/scenes/train/000000.jpg"]
    call("predict", DET, work_dir / "iter_3.pth", *images, "--out", "found", "--score-thr", 0.0)
    written = json.loads(Path("found/predictions.json").read_text())
    assert written["classes"] == ["two", "four", "disc", "triangle", "cross"]
    assert [entry["image"] for entry in written["images"]] == [
        "data/scenes/val/000000.jpg", "data/scenes/val/000001.jpg", "data/scenes/train/000000.jpg"]
    assert len({entry["picture"] for entry in written["images"]}) == 3  # two images of one name
    for entry in written["images"]:
        with Image.open(Path("found", entry["picture"])) as picture:
            # Enlarged, so that names of classes do not hide a small image; what is written is of the image itself.
            assert picture.format == "JPEG" and picture.width >= 256 > entry["width"]
        scores = [found["score"] for found in entry["detections"]]
        assert scores == sorted(scores, reverse=True) and scores
        for found in entry["detections"]:
            x, y, width, height = found["bbox"]
            assert min(x, y, width, height) >= 0 and x + width <= 64.01 and y + height <= 64.01
            assert decode(found["segmentation"]).shape == (entry["height"], entry["width"]) == (64, 64)
            assert found["category"] == written["classes"][found["label"]]


def test_segmentation_from_overfit_to_predictions(call, monkeypatch):
    monkeypatch.setitem(overfit.GOALS, "mmseg", ("mIoU", 0.001, "mIoU"))
    monkeypatch.setattr(overfit, "MAX_ITERS", 2)
    assert call("train", SEG, "--overfit", 2, "--work-dir", "seg", "--cfg-options", *WORKERS) == 0
    assert "overfit: passed: mIoU" in "\n".join(path.read_text() for path in Path("seg").glob("*/*.log"))
    checkpoint = sorted(Path("seg").glob("iter_*.pth"))[0]
    call("predict", SEG, checkpoint, "data/scenes/val/000001.jpg", "--out", "classes")
    (entry,) = json.loads(Path("classes/predictions.json").read_text())["images"]
    with Image.open("classes/000001_classes.png") as labels:
        values = np.asarray(labels)
        assert labels.mode == "P" and values.shape == (64, 64)
    names = Config.fromfile(SEG).metainfo.classes
    shares = {names[i]: (values == i).mean() for i in np.unique(values)}
    assert entry["classes"] == pytest.approx(shares, abs=1e-4) and sum(shares.values()) == pytest.approx(1)
    assert entry["class_map"] == "000001_classes.png" and Path("classes", entry["picture"]).is_file()


def test_bad_data_are_refused_before_the_subset_is_chosen(call, folder, capfd):
    """A box that is missing ended in a KeyError."""
    shutil.copytree(folder / "data/scenes", folder / "bad")
    path = folder / "bad/annotations/instances_train.json"
    coco = json.loads(path.read_text())
    del coco["annotations"][0]["bbox"]
    path.write_text(json.dumps(coco))
    option = "train_dataloader.dataset.data_root=bad/"
    assert call("train", DET, "--overfit", 2, "--work-dir", "bad_run", "--cfg-options", option) == 2
    assert "1 annotations without 'bbox': 1; write x y width height" in capfd.readouterr().err
    assert not Path("bad_run").exists()


def test_predictions_leave_out_what_cannot_be_read(call, checkpoint, capfd):
    """A broken image ended the prediction of a folder in an error, and no JSON was written."""
    Path("mixed/.ipynb_checkpoints").mkdir(parents=True)
    sound = Path("data/scenes/val/000001.jpg").read_bytes()
    for name, content in {"a.JPG": sound, "b.jpg": b"", "c.jpg": b"<html>", "d.jpg": sound[:500], "e.jpg": sound,
                          "._f.jpg": b"x"}.items():
        Path("mixed", name).write_bytes(content)
    Path("mixed/linked").symlink_to(Path("data/scenes/val").resolve())
    Path("mixed/linked/again").symlink_to(Path("mixed").resolve())
    os.mkfifo("mixed/g.jpg")
    Path("mixed/h.jpg").symlink_to("nowhere.jpg")
    Image.new("RGB", (2000, 5)).save("mixed/i.jpg")
    capfd.readouterr()
    try:
        assert call("predict", SEG, checkpoint, "mixed", "--out", "mixed_out") == 0
    finally:
        Path("data/scenes/val/again").unlink()
    said = capfd.readouterr()
    written = json.loads(Path("mixed_out/predictions.json").read_text())
    names = [Path(entry["image"]).name for entry in written["images"]]
    assert names[:3] == ["a.JPG", "e.jpg", "i.jpg"] and len(names) == 5  # and those of the linked folder
    assert "g.jpg (no regular file) ... (5 in all)" in said.out
    with Image.open("mixed_out/i_classes.png") as labels:
        assert labels.size == (2000, 5)
    assert [Path(entry["image"]).name for entry in written["unreadable"]] == ["b.jpg", "c.jpg", "d.jpg"]
    assert all(f"{name}.jpg cannot be read (" in said.err for name in "bcd")
    assert "5 pictures and mixed_out/predictions.json, 3 of 8 images left out: " in said.out
    assert "left out: mixed/b.jpg, mixed/c.jpg, mixed/d.jpg\n" in said.out
    assert call("predict", SEG, checkpoint, "mixed/b.jpg", "mixed/c.jpg", "--out", "none_out") == 2
    assert "none of 2 images can be read" in capfd.readouterr().err
    assert len(json.loads(Path("none_out/predictions.json").read_text())["unreadable"]) == 2


def test_the_json_is_whole_after_every_image(tmp_path):
    path = str(tmp_path / "p.json")
    with PredictionsFile(path, ("ant",)) as file:
        for k in range(3):
            file.add(dict(image=f"{k}.jpg"))
            file.leave_out(f"broken{k}.jpg", "why")
            written = json.loads(Path(path).read_text())
            assert len(written["images"]) == len(written["unreadable"]) == k + 1 and written["classes"] == ["ant"]


def test_what_cannot_be_predicted(call, capfd):
    Path("empty.pth").touch()
    assert call("predict", DET, "empty.pth", "data/scenes/vla") == 2
    assert "no such file or folder; did you mean 'val'?" in capfd.readouterr().err
    assert call("predict", DET, "empty.pth", "data/scenes/annotations") == 2
    assert "no image in this folder" in capfd.readouterr().err
    assert call("predict", DET, "none.pth", "data/scenes/val") == 2
    assert "none.pth" in capfd.readouterr().err


def test_overfit_iterations_are_of_an_overfit(call, capfd):
    assert call("train", SEG, "--overfit-iters", 3) == 2
    assert "--overfit-iters without --overfit N" in capfd.readouterr().err
    # One image is a batch of two: UperNet pools its maps to one value, which batch normalisation cannot take.
    args = ["--overfit", 1, "--overfit-iters", 3, "--work-dir", "short", "--cfg-options", *WORKERS]
    assert call("train", SEG, *args) == 1
    log = "\n".join(path.read_text() for path in Path("short").glob("*/*.log"))
    assert "images it was trained on after 3 iterations, expected 70; " in log and Path("short/iter_3.pth").is_file()
