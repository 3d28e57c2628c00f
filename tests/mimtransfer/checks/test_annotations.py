"""What is said of annotations and index maps: each mistake is found, counted and named, and sound data pass."""
import copy

import numpy as np
import pytest
from pycocotools.mask import encode

import mimtransfer  # noqa: F401  before mmdet
from mimtransfer.checks import FAIL, WARN
from mimtransfer.checks.annotations import coco_problems
from mimtransfer.checks.index_maps import map_problems
from mimtransfer.checks.objects import run_lengths

SQUARE = [[2.0, 2, 12, 2, 12, 12, 2, 12]]
SOUND = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 7, "bbox": [2, 2, 10, 10], "area": 100, "iscrowd": 0,
         "segmentation": SQUARE}
        for i in (1, 2)
    ],
    "categories": [{"id": 7, "name": "cell"}],
}


def first(coco, **change):
    coco["annotations"][0].update(change)


BROKEN = {
    "id twice": (lambda c: first(c, id=2), FAIL, "1 ids of annotations that occur more than once: 2"),
    "id 0": (lambda c: first(c, id=0), WARN, "1 annotations with id 0: 0"),
    "no image": (lambda c: first(c, image_id=9), FAIL, "1 annotations of images that are not listed: 1"),
    "no category": (lambda c: first(c, category_id=0), FAIL, "1 annotations of categories that are not listed: 1"),
    "other class": (
        lambda c: (c["categories"].append({"id": 8, "name": "dust"}), first(c, category_id=8)), WARN,
        "1 annotations of categories outside the config's classes: dust"),
    "empty box": (lambda c: first(c, bbox=[2, 2, 0, 10]), WARN, "1 boxes without area: 1"),
    "outside": (lambda c: first(c, bbox=[30, 20, 5, 18]), WARN, "1 boxes that end more than a pixel outside"),
    "corners": (lambda c: first(c, bbox=[30, 20, 38, 28]), FAIL, "the 2 boxes are two corners"),
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
    assert [f for f in found if f.level == level and text in f.what and f.fix], found


def test_no_masks_are_asked_for_by_a_box_detector():
    coco = copy.deepcopy(SOUND)
    first(coco, segmentation=[])
    assert list(coco_problems(coco, ("cell",), masks=False)) == []


@pytest.mark.parametrize("values, reduce_zero, expected", [
    ({0, 1, 2, 255}, False, []),
    ({0, 1, 2, 3}, True, []),
    ({0, 3}, False, [(FAIL, "values above 2 in 'maps' (3 classes, reduce_zero_label=False): a.png holds 3")]),
    ({0, 4, 255}, True, [(FAIL, "values above 3"), (FAIL, "holds a label")]),
    ({1, 2, 3}, True, [(WARN, "no pixel is 0")]),
    ({255}, False, [(FAIL, "holds a label")]),
])
def test_values_of_index_maps(values, reduce_zero, expected):
    found = list(map_problems({"a.png": values}, ("x", "y", "z"), reduce_zero, 255, "maps", complete=False))
    assert len(found) == len(expected)
    for finding, (level, text) in zip(found, expected):
        assert finding.level == level and text in finding.what


def test_run_lengths_are_those_of_pycocotools():
    draw = np.random.RandomState(0)
    for size in ((1, 1), (5, 7), (300, 40)):
        for share in (0.0, 0.03, 0.5, 1.0):
            mask = np.asfortranarray(draw.rand(*size) < share).astype(np.uint8, order="F")
            runs = run_lengths(encode(mask)["counts"].decode("ascii"))
            assert np.repeat(np.arange(len(runs)) % 2, runs).tolist() == mask.ravel(order="F").tolist()
