"""What doctor says of annotations: each mistake is found, counted and named, and sound data pass."""
import copy
import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.checks import FAIL, OK, WARN
from mimtransfer.checks.annotations import check_annotations, coco_problems, map_problems

SQUARE = [[2.0, 2, 12, 2, 12, 12, 2, 12]]
SOUND = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 7, "bbox": [2, 2, 10, 10], "iscrowd": 0, "segmentation": SQUARE}
        for i in (1, 2)
    ],
    "categories": [{"id": 7, "name": "cell"}],
}


def first(coco, **change):
    coco["annotations"][0].update(change)


BROKEN = {
    "id twice": (lambda c: first(c, id=2), FAIL, "1 ids of annotations that occur more than once: 2"),
    "id 0": (lambda c: first(c, id=0), FAIL, "1 annotations with id 0: 0"),
    "no image": (lambda c: first(c, image_id=9), FAIL, "1 annotations of images that are not listed: 1"),
    "no category": (lambda c: first(c, category_id=0), FAIL, "1 annotations of categories that are not listed: 1"),
    "other class": (
        lambda c: (c["categories"].append({"id": 8, "name": "dust"}), first(c, category_id=8)), WARN,
        "1 annotations of categories outside the config's classes: dust"),
    "empty box": (lambda c: first(c, bbox=[2, 2, 0, 10]), WARN, "1 boxes without area: 1"),
    "corners": (lambda c: first(c, bbox=[30, 20, 38, 28]), WARN, "1 boxes that end more than a pixel outside"),
    "no mask": (lambda c: first(c, segmentation=[]), FAIL, "1 annotations without a segmentation"),
    "unused class": (lambda c: c["categories"].append({"id": 8, "name": "cell2"}), WARN, None),
}


def test_sound_annotations_have_no_problems():
    assert list(coco_problems(copy.deepcopy(SOUND), ("cell",), masks=True)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_in_a_json(name):
    change, level, text = BROKEN[name]
    coco = copy.deepcopy(SOUND)
    change(coco)
    found = list(coco_problems(coco, ("cell",), masks=True))
    if text is None:  # a category that the config does not name
        assert found == []
        found, text = list(coco_problems(coco, (), masks=True)), "1 classes without one object: cell2"
    assert [f for f in found if f.level == level and text in f.what and f.mend], found


def test_no_masks_are_asked_for_by_a_box_detector():
    coco = copy.deepcopy(SOUND)
    first(coco, segmentation=[])
    assert list(coco_problems(coco, ("cell",), masks=False)) == []


@pytest.mark.parametrize("values, reduce_zero, expected", [
    ({0, 1, 2, 255}, False, []),
    ({0, 1, 2, 3}, True, []),
    ({0, 3}, False, [(FAIL, "values above 2")]),
    ({0, 4, 255}, True, [(FAIL, "values above 3"), (FAIL, "holds a label")]),
    ({1, 2, 3}, True, [(WARN, "no pixel is 0")]),
    ({255}, False, [(FAIL, "holds a label")]),
])
def test_values_of_index_maps(values, reduce_zero, expected):
    found = list(map_problems(values, 3, reduce_zero, 255, "maps"))
    assert len(found) == len(expected)
    for finding, (level, text) in zip(found, expected):
        assert finding.level == level and text in finding.what


def config(root, size=(40, 30)):
    """Two images with boxes and index maps, as a detection config names them."""
    (root / "images").mkdir()
    for i in (1, 2):
        Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(root / f"images/{i}.png")
    (root / "a.json").write_text(json.dumps(SOUND))
    dataset = dict(type="CocoDataset", data_root=str(root), ann_file="a.json", data_prefix=dict(img="images/"),
                   metainfo=dict(classes=("cell",)))
    init_default_scope("mmdet")
    return Config(dict(model=dict(mask_head={}), train_dataloader=dict(dataset=dict(type="RepeatDataset", times=2,
                                                                                   dataset=dataset))))


def test_a_config_is_followed_to_its_files(tmp_path):
    (finding,) = check_annotations(config(tmp_path), 10)
    assert finding.level == OK and finding.what.endswith("2 images, 2 annotations")


def test_images_of_another_size_and_broken_ones(tmp_path):
    cfg = config(tmp_path, size=(30, 40))
    (tmp_path / "images/2.png").write_bytes(b"no image")
    found = check_annotations(cfg, 10)
    assert [f.level for f in found] == [FAIL, FAIL]
    assert "1 images that cannot be read: 2.png" in found[0].what
    assert "1.png is 30x40, the json says 40x30" in found[1].what
