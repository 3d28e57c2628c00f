"""How many objects an AP by size rests on: as COCO's evaluation counts them."""
import contextlib
import io
from types import SimpleNamespace

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mimtransfer.results.object_counts import with_counts

ENTRIES = [  # area, image, category, more
    (1023.0, 1, 1, {}), (1024.0, 1, 1, {}), (9216.0, 1, 2, {}), (9217.0, 2, 1, {}), (50.0, 2, 1, {"iscrowd": 1}),
    (50.0, 3, 1, {}), (50.0, 1, 3, {}), (60.0, 1, 1, {"ignore": 1}),
]


def ground_truth():
    truth = COCO()
    truth.dataset = dict(
        images=[dict(id=image) for image in (1, 2, 3)], categories=[dict(id=category) for category in (1, 2, 3)],
        annotations=[{"id": k, "area": area, "image_id": image, "category_id": category, "bbox": [0, 0, 9, 9],
                      "iscrowd": 0, **more} for k, (area, image, category, more) in enumerate(ENTRIES, 1)])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def evaluator(images, classes, number=1):
    metric = SimpleNamespace(_coco_api=ground_truth(), img_ids=images, cat_ids=classes)
    return SimpleNamespace(metrics=[SimpleNamespace(), *[metric] * number])


def counted(found):
    scores = {name: {"value": 1.0, "unit": "points"} for name in
              ("box_ap", "box_ap_small", "mask_ap_medium", "box_ap_large", "box_ap50", "miou")}
    return {name: score["objects"] for name, score in with_counts(scores, found).items() if "objects" in score}


@pytest.mark.parametrize(("images", "classes"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3]), ([2], [1])])
def test_as_many_as_cocos_evaluation_counts(images, classes):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = ground_truth()
        found = truth.loadRes([dict(image_id=1, category_id=1, bbox=[0, 0, 9, 9], score=0.5)])
        coco = COCOeval(truth, found, "bbox")
        coco.params.imgIds, coco.params.catIds = images, classes
        coco.evaluate()
    expected = {}
    for name, size in (("box_ap_small", 1), ("mask_ap_medium", 2), ("box_ap_large", 3)):
        found = [each for each in coco.evalImgs if each and each["aRng"] == coco.params.areaRng[size]]
        expected[name] = sum(int((each["gtIgnore"] == 0).sum()) for each in found)
    assert counted(evaluator(images, classes)) == expected and sum(expected.values()) > 0


def test_without_a_choice_all_of_them():
    assert counted(evaluator(None, None)) == {"box_ap_small": 5, "mask_ap_medium": 2, "box_ap_large": 2}


def test_nothing_is_said_where_nobody_knows():
    assert counted(evaluator([1], [1], number=2)) == counted(SimpleNamespace(metrics=[SimpleNamespace()])) == {}
