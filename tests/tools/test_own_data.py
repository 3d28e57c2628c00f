"""Own data from one command to a score: YOLO and VOC to detectors, masks to a segmentor; the options beside it."""
import math
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from own_sets import masks, voc, yolo
from own_tool import call_tool, record

from mimtransfer.cli.launch import load_config
from mimtransfer.results.fingerprint import fingerprint, protocol_config

ROOT = Path(__file__).parents[2]
DET = str(ROOT / "configs/detection/mask-rcnn_vit-demo_scenes.py")
VITDET = str(ROOT / "configs/detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py")
SEG = str(ROOT / "configs/segmentation/upernet_vit-base_160k_ade20k-512x512.py")
SHORT = ["--cfg-options", "train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with data of YOLO, of VOC and of masks."""
    out = tmp_path_factory.mktemp("own")
    yolo(out / "leaves", polygons=True)
    voc(out / "cells")
    masks(out / "roads")
    masks(out / "lanes", number=3)
    return out


def test_yolo_to_a_trained_detector_and_its_score(call, capsys):
    assert not call("train", DET, "--data", "leaves", "--quick", "--work-dir", "yolo", *SHORT)
    said = capsys.readouterr().out
    assert "leaves (yolo, detection, with masks), 2 classes: red, green" in said
    assert "train 8 images, 16 boxes, 0 images without objects (as given)" in said
    found = record("yolo")
    scores = found["metrics"]
    assert {"box_ap", "mask_ap"} <= set(scores) and all(math.isfinite(score["value"]) for score in scores.values())
    assert found["protocol"]["name"] == "Mask R-CNN, scenes, on leaves, quick look, 64 pixels"
    # The config that was written is the run: without an option it has the same protocol.
    path = "yolo/own_mask-rcnn_vit-demo_scenes.py"
    assert f"Config: {path}" in said
    again = load_config(path, [])
    assert fingerprint(protocol_config(again)) == found["protocol"]["fingerprint"]


@pytest.fixture(scope="module")
def trained_on_cells(folder):
    """What a ViTDet on the VOC data has said."""
    options = ["--data", "cells", "--quick", "--image-size", "64", "--batch", "2"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as said:
        patch.chdir(folder)
        assert not call_tool("train", VITDET, *options, *SHORT)
    return said.getvalue()


def test_voc_to_a_detector_of_boxes_by_a_config_of_vitdet(trained_on_cells, call):
    said = trained_on_cells
    assert "The data have no masks: MaskRCNN without its mask head" in said
    assert "train 8 images, 16 boxes, 0 images without objects (split by seed 0, 20 % for val)" in said
    work_dir = Path("work_dirs/mask-rcnn_vitdet_vit-base_25e_coco-512_cells_quick")
    found = record(work_dir)
    assert "box_ap" in found["metrics"] and "mask_ap" not in found["metrics"]
    assert found["protocol"]["name"].endswith("on cells, boxes only, quick look, 64 pixels")
    assert sorted(path.name for path in (work_dir / "data").iterdir()) == ["annotations", "data.json"]
    assert not call("test", str(next(work_dir.glob("own_*.py"))), str(work_dir / "iter_2.pth"), "--work-dir", "tested")


def test_a_detector_on_another_folder(trained_on_cells, call, capsys):
    """The record of the training stays, the new one stands beside it, each in its column."""
    work_dir = Path("work_dirs/mask-rcnn_vitdet_vit-base_25e_coco-512_cells_quick")
    config = str(next(work_dir.glob("own_*.py")))
    assert not call("test", config, str(work_dir), "--save-predictions")
    before, predicted = record(work_dir), {path: path.read_bytes() for path in work_dir.glob("predictions.*")}
    written = Path(config).read_text()
    capsys.readouterr()
    assert not call("test", config, str(work_dir), "--data", "leaves", "--save-predictions")
    other = work_dir / "tested_on_leaves"
    assert predicted == {path: path.read_bytes() for path in work_dir.glob("predictions.*")}  # of the training's data
    assert {path.name for path in predicted} == {path.name for path in other.glob("predictions.*")} != set()
    assert not call("compare_scores", str(other), "--resamples", "10")
    assert Path(config).read_text() == written  # a test on other data is no other training
    assert "val   4 images, 8 boxes, 0 images without objects (as given)" in capsys.readouterr().out
    assert record(work_dir) == before
    assert [*work_dir.glob("*/result.json")] == [other / "result.json"]
    found = record(other)
    assert found["protocol"]["name"] == before["protocol"]["name"] + ", tested on leaves"
    assert found["run_id"] == before["run_id"] and found["evaluated"] == {"on": "test", "iter": 2}
    assert found["data_fingerprint"]["train"] == before["data_fingerprint"]["train"]
    assert found["data_fingerprint"]["eval"] != before["data_fingerprint"]["eval"]
    assert not call("table", str(work_dir))
    table = capsys.readouterr().out
    assert table.splitlines()[0].count("box AP") == 2 and "tested on leaves" in table
    assert call("test", config, str(work_dir), "--data", "cells") == 2
    assert "8 of its 10 images were trained on" in capsys.readouterr().err
    assert call("test", VITDET, str(work_dir), "--data", "leaves", "--work-dir", "other") == 2
    said = capsys.readouterr()
    assert f"has written {config}: to test it, give that config" in said.out + said.err


def test_masks_to_upernet(call):
    options = ["--data", "roads", "--quick", "--image-size", "64", "--work-dir", "seg"]
    assert not call("train", SEG, *options, *SHORT)
    found = record("seg")
    assert math.isfinite(found["metrics"]["miou"]["value"])
    assert found["protocol"]["name"].endswith("on roads, quick look, 64 pixels")
    assert not call("test", "seg/own_upernet_vit-base_160k_ade20k-512x512.py", "seg", "--data", "lanes", "--tta")
    other = record("seg/tested_on_lanes")
    assert other["protocol"]["name"] == found["protocol"]["name"] + ", tested on lanes, TTA"
    assert math.isfinite(other["metrics"]["miou"]["value"]) and record("seg") == found


def test_images_to_a_pretraining(call, capsys):
    config = str(ROOT / "configs/pretrain/mae_vit-base_800e_in1k.py")
    options = ["--data", "roads/images", "--quick", "--image-size", "32", "--batch", "4", "--epochs", "1"]
    assert not call("pretrain", config, *options)
    assert "Data: roads/images (images without labels)" in capsys.readouterr().out
    cfg = load_config("work_dirs/mae_vit-base_800e_in1k_images_quick/own_mae_vit-base_800e_in1k.py", [])
    assert (cfg.train_cfg.max_epochs, cfg.model.encoder.arch) == (1, "vit_tiny_patch16_224")
    assert record("work_dirs/mae_vit-base_800e_in1k_images_quick")["task"] == "pretrain"


def test_what_is_converted_is_not_converted_again(call, capsys):
    assert not call("convert_data", "cells", "converted", "--val-share", "0.5")
    assert "train 5 images" in (said := capsys.readouterr().out) and "--data converted\n" in said
    assert call("convert_data", "converted", "again", "--val-share", "0.2") == 2
    assert "'converted' was written by this command; train on it by --data converted" in capsys.readouterr().err
    assert not Path("again").exists()


@pytest.mark.parametrize(("options", "said"), [
    (["--data", "absent"], "data 'absent' are not there"),
    (["--data", "roads"], "are masks for segmentation, but the config is of detection"),
    (["--data", "leaves", "--num-classes", "3"], "--num-classes 3, but the data have 2 classes"),
    (["--data", "leaves", "--image-size", "100"], "--image-size 100: expected a multiple of 32"),
    (["--data", "leaves", "--image-size", "64000"], "--image-size 64000: expected at most 16384 pixels"),
    (["--data", "leaves", "--batch", "0"], "--batch 0: expected 1 or more"),
    (["--data", "leaves", "--epochs", "0"], "--epochs 0: expected 1 or more"),
    (["--data", "leaves", "--work-dir", "leaves"], "lies in the data"),
])
def test_mistakes_are_told_in_one_line(call, capsys, options, said):
    assert call("train", VITDET, *options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("error:") == 1
