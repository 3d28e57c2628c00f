"""Detections and areas from a file are data: what is not sound is refused in one line."""
import json
import os
from pathlib import Path

import pytest
from detections import made_coco, made_detections

from mimtransfer.checks.comparison import score_all
from mimtransfer.checks.detections import read_detections
from mimtransfer.errors import UserError
from mimtransfer.evaluation.comparison.stored import read_areas, read_manifest

COCO = made_coco(0, 4)
FOUND = made_detections(COCO, 1, 0.05)


def read(content):
    Path("found.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_detections("found.json", COCO)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_is_sound_is_read_and_nothing_else_is_kept():
    assert read([{**one, "id": 7, "area": -1} for one in FOUND]) == FOUND and read([]) == []


def changed(**fields):
    return [FOUND[0], {**FOUND[1], **fields}]


def mask(**fields):
    return changed(segmentation={**FOUND[1]["segmentation"], **fields})


@pytest.mark.parametrize(("content", "says"), [
    ("{", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("9" * 5000, "not valid JSON"), ("\x00", "not valid"),
    ({}, "expected a list"), ([1], "detection 0 is 1, expected an object"),
    (changed(image_id=1), "image_id 1 is not"), (changed(image_id=5.0), "image_id"),
    (changed(image_id=[5]), "image_id"), (changed(category_id=1), "category_id 1"),
    (changed(score=None), "score is None"), (changed(score=float("nan")), "score is nan"),
    (changed(score=True), "score"), (changed(score=10**400), "score is 1000"),
    (changed(bbox=[0, 0, 1]), "bbox is"), (changed(bbox="0011"), "bbox is"),
    (changed(bbox=[0, 0, -1, 1]), "bbox is"), (changed(bbox=[0, 0, 1, float("inf")]), "bbox is"),
    ([FOUND[0], {"image_id": 5, "category_id": 2, "score": 1}], "has neither, expected bbox and segmentation"),
    ([FOUND[0], {"image_id": 5, "category_id": 2, "score": 1, "bbox": [0] * 4}], "has bbox, expected bbox and seg"),
    (changed(segmentation=[[0, 0, 1, 1, 2, 2]]), "no compressed RLE"), (mask(size=[1, 1]), "no compressed RLE"),
    (mask(counts=[25200]), "no compressed RLE"), (mask(counts=""), "no compressed RLE"),
    (mask(counts="P"), "no compressed RLE"), (mask(counts="0\u00e9"), "no compressed RLE"),
    (mask(counts="PPPPPPPPPPPPPPPP0"), "no compressed RLE"), (mask(counts="1"), "no compressed RLE"),
    (mask(counts="0p1"), "no compressed RLE"),
])  # fmt: skip
def test_what_are_no_detections(content, says):
    with pytest.raises(UserError) as error:
        read(content)
    assert says in str(error.value) and "found.json" in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_what_is_no_file():
    os.mkfifo("pipe")
    for path, says in (("absent.json", "no such file"), ("pipe", "is a named pipe"), (".", "is a folder")):
        with pytest.raises(UserError, match=says):
            read_detections(path, COCO)


AREAS = dict(schema=1, classes=["a", "b"], images=["0", "1"], hit=[[1, 0], [0, 0]], guessed=[[2, 0], [0, 1]],
             true=[[1, 1], [1, 0]])  # fmt: skip


@pytest.mark.parametrize("change", [
    {}, dict(schema=2), dict(classes=["a", "a"]), dict(images=["0", 1]), dict(images=[]), dict(classes="ab"),
    dict(hit=[[1, 0]]), dict(hit=[[1, 0], [0]]), dict(hit=[[1, 0], 0]), dict(hit=[[2, 0], [0, 0]]),
    dict(true=[[1, 1], [1, -1]]), dict(true=[[1, 1], [1, 0.5]]), dict(true=[[1, 1], [1, True]]),
    dict(true=[[1, 1], [1, 1 << 50]]), dict(true=None),
])  # fmt: skip
def test_what_are_no_areas(change):
    Path("predictions.areas.json").write_text(json.dumps({**AREAS, **change}))
    if not change:
        assert read_areas(".").true.tolist() == AREAS["true"]
        return
    with pytest.raises(UserError, match=r"predictions.areas.json: .*--save-predictions") as error:
        read_areas(".")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [
    dict(schema=2), dict(kind="depth"), dict(classes=[]), dict(ann_file=""), dict(ann_file="a\0"), dict(sha256=None),
])  # fmt: skip
def test_what_is_no_manifest(change):
    sound = dict(schema=1, kind="detection", classes=["a"], ann_file="val.json", sha256="0")
    Path("predictions.json").write_text(json.dumps(sound))
    assert read_manifest(".").ann_file == "val.json"
    Path("predictions.json").write_text(json.dumps({**sound, **change}))
    with pytest.raises(UserError, match=r"predictions\.json"):
        read_manifest(".")


@pytest.mark.parametrize(("coco", "ann_file", "says"), [
    (COCO, None, "give --ann-file JSON"), (COCO, "absent.json", "no such file"), ([], "val.json", "no COCO json"),
    ({**COCO, "annotations": [{**COCO["annotations"][0], "iscrowd": 2}]}, "val.json", "iscrowd"),
    ({**COCO, "images": [{**image, "neg_category_ids": []} for image in COCO["images"]]}, "val.json", "LVIS"),
])  # fmt: skip
def test_what_is_no_ground_truth(coco, ann_file, says):
    Path("val.json").write_text(json.dumps(coco))
    Path("found.json").write_text(json.dumps(FOUND))
    with pytest.raises(UserError, match=says) as error:
        score_all(["found.json", "found.json"], ann_file, 3, 0)
    assert "\n" not in str(error.value)


def test_boxes_and_masks_in_one_file_are_both_scored():
    Path("val.json").write_text(json.dumps(COCO))
    Path("found.json").write_text(json.dumps(FOUND))
    Path("boxes.json").write_text(json.dumps([{key: one[key] for key in one if key != "segmentation"}
                                              for one in FOUND]))  # fmt: skip
    (both,), num_images = score_all(["found.json"], "val.json", 3, 0)
    assert num_images == 4 and list(both.classes) == ["box_ap", "mask_ap"]
    (alone, _), _ = score_all(["boxes.json", "found.json"], "val.json", 3, 0)
    assert list(alone.classes) == ["box_ap"]
    assert alone.metrics["box_ap"].value == both.metrics["box_ap"].value
