"""What tools/predict.py reads and names: patterns and folders, ids of COCO, colours of classes."""
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from bad_data import Boxes
from mmengine.config import Config

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.cli import prediction
from mimtransfer.cli.launch import enter_scope
from mimtransfer.datasets.coco_ids import CocoIds
from mimtransfer.datasets.palette import distinct_colours, palette_of
from mimtransfer.errors import UserError
from mimtransfer.training.hooks import PredictionPictureHook

ADE = "mmseg.ADE20KDataset"
COCO = "mmdet.CocoDataset"


def made(tmp_path):
    (tmp_path / "set").mkdir()
    return Boxes(tmp_path / "set")


@pytest.mark.parametrize("dataset, colours", [
    (dict(type=ADE), {0: (120, 120, 120), 1: (180, 120, 120), 149: (92, 0, 255)}),
    (dict(type=ADE, metainfo=dict(classes=("sky", "wall"))), {0: (6, 230, 230), 1: (120, 120, 120)}),
    (dict(type=COCO, metainfo=dict(classes=("car", "person"))), {0: (0, 0, 142), 1: (220, 20, 60)}),
    (dict(type=COCO, metainfo=dict(classes=("ant",), palette=[[1, 2, 3]])), {0: (1, 2, 3)}),
    (dict(type=COCO, metainfo=dict(classes=("ant", "car"))), {0: distinct_colours(2)[0], 1: (0, 0, 142)}),
    (dict(type=COCO, metainfo=dict(classes=("ant", "bee"), palette="random")), dict(enumerate(distinct_colours(2)))),
])
def test_classes_have_the_colours_of_their_data_set(dataset, colours):
    """The wall of ADE20K was red, and not grey."""
    palette = palette_of(dataset)
    assert {k: palette[k] for k in colours} == colours


def test_pictures_have_the_colours_of_the_data_set(monkeypatch, tmp_path):
    """Those of tools/predict.py were made up; those in a report went by the position of a class, not by its name."""
    dataset = dict(type=COCO, metainfo=dict(classes=("car", "person")), pipeline=[])
    cfg = Config(dict(default_scope="mmdet", visualizer=dict(type="mmdet.DetLocalVisualizer"),
                      val_dataloader=dict(dataset=dataset), model=dict()))
    enter_scope(cfg)
    monkeypatch.setattr(prediction, "load_model", lambda *args: None)
    visualizer = prediction.Predictor(cfg, "none.pth", str(tmp_path)).visualizer
    assert visualizer.alpha == 0.5  # 0.8 hid what a mask lies on
    meta = visualizer.dataset_meta
    assert meta == dict(classes=("car", "person"), palette=[(0, 0, 142), (220, 20, 60)])
    visualizer = SimpleNamespace(dataset_meta=dict(classes=("car", "person")))
    runner = SimpleNamespace(cfg=cfg, log_dir=str(tmp_path), visualizer=visualizer)
    PredictionPictureHook().before_val_epoch(runner)
    assert runner.visualizer.dataset_meta == meta


def test_images_of_patterns_and_several_folders(tmp_path, monkeypatch):
    """A quoted pattern was no such file, and an image named twice was predicted twice."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/2.PNG", "a/notes.txt", "a/deep/3.jpg", "b/1.jpg", "b[1].jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert prediction.find_images(["a/*.jpg"]) == ["a/1.jpg"]
    assert prediction.find_images(["*/1.jpg", "a/2.PNG"]) == ["a/1.jpg", "b/1.jpg", "a/2.PNG"]
    assert prediction.find_images(["a/**"]) == ["a/1.jpg", "a/2.PNG", "a/deep/3.jpg"]
    assert prediction.find_images(["b", "a"]) == ["b/1.jpg", "a/1.jpg", "a/2.PNG", "a/deep/3.jpg"]
    assert prediction.find_images(["[ab]"]) == ["a/1.jpg", "a/2.PNG", "a/deep/3.jpg", "b/1.jpg"]
    assert prediction.find_images(["a/1.jpg", "a", "./a/1.jpg"]) == ["a/1.jpg", "a/2.PNG", "a/deep/3.jpg"]
    assert prediction.find_images(["b[1].jpg"]) == ["b[1].jpg"]  # a file of this name goes first
    for pattern in ("a/*.bmp", "a/*.txt"):
        with pytest.raises(UserError, match="no image or folder matches this pattern"):
            prediction.find_images([pattern])


def test_what_a_pattern_matches_and_cannot_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    monkeypatch.setattr(prediction, "print_log", lambda line, **_: said.append(line))
    Path("1.jpg").touch()
    Path("lost.jpg").symlink_to("nowhere.jpg")
    os.mkfifo("pipe.jpg")
    assert prediction.find_images(["*.jpg"]) == ["1.jpg"] and prediction.find_images(["."]) == ["./1.jpg"]
    assert said == ["'*.jpg': left out lost.jpg (a link to nothing), pipe.jpg (no regular file)",
                    ".: left out lost.jpg (a link to nothing), pipe.jpg (no regular file)"]
    for path, why in (("lost.jpg", "it is a link to .nowhere.jpg., which is not there"),
                      ("pipe.jpg", "it is a named pipe")):
        with pytest.raises(UserError, match=why):
            prediction.find_images([path])


def test_ids_are_those_of_the_config_for_the_very_file(tmp_path):
    data = made(tmp_path)
    data.val["categories"] = [dict(id=90, name="other"), dict(id=7, name="ant"), dict(id=3, name="bee")]
    data.write()
    ids = CocoIds(data.dataset("val"))
    assert ids.categories == [7, 3]  # in the order of the json, as mmdet counts labels
    assert ids.of_image(str(tmp_path / "set/val/21.jpg")) == (21, "21.jpg")
    assert ids.of_image(str(tmp_path / "set/train/21.jpg")) == (None, "21.jpg")  # another image of this name


def test_a_json_of_the_config_without_all_classes_gives_no_ids(tmp_path):
    data = made(tmp_path)
    data.val["categories"] = [dict(id=7, name="ant")]
    data.write()
    ids = CocoIds(data.dataset("val"))
    assert ids.categories is None and ids.of_image(str(tmp_path / "set/val/21.jpg")) == (None, "21.jpg")


def test_ids_of_a_given_json_go_by_name_wherever_the_images_lie(tmp_path):
    data = made(tmp_path)
    coco = dict(images=[dict(id=5, file_name="day/1.jpg"), dict(id=6, file_name="1.jpg")],
                categories=[dict(id=k, name=name) for k, name in ((1, "ant"), (2, "bee"))])
    path = tmp_path / "image_info.json"
    path.write_text(json.dumps(coco))
    ids = CocoIds(data.dataset("val"), str(path))
    assert ids.of_image("anywhere/day/1.jpg") == (5, "day/1.jpg")
    assert ids.of_image("anywhere/1.jpg") == (6, "1.jpg")
    assert ids.of_image("2.jpg") == (None, "2.jpg")


@pytest.mark.parametrize("text, says", [
    ("{", "is no COCO json"), ("[]", "is no COCO json"),
    ('{"images": [], "categories": []}', "has 0 of the config's 2"),
])
def test_a_json_without_ids_is_refused(tmp_path, text, says):
    data = made(tmp_path)
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        CocoIds(data.dataset("val"), str(path))
