"""How many objects an AP by size rests on: as pycocotools counts them."""
from types import SimpleNamespace

from mimtransfer.results.object_counts import with_counts

ENTRIES = [  # area, image, category, more
    (1023.0, 1, 1, {}), (1024.0, 1, 1, {}), (9216.0, 1, 2, {}), (9217.0, 2, 1, {}), (50.0, 2, 1, {"iscrowd": 1}),
    (50.0, 3, 1, {}), (50.0, 1, 3, {}), (60.0, 1, 1, {"ignore": 1}),
]


def evaluator(images, classes, number=1):
    anns = {k: {"area": area, "image_id": image, "category_id": category, **more}
            for k, (area, image, category, more) in enumerate(ENTRIES)}
    metric = SimpleNamespace(_coco_api=SimpleNamespace(anns=anns), img_ids=images, cat_ids=classes)
    return SimpleNamespace(metrics=[SimpleNamespace(), *[metric] * number])


def counted(found):
    scores = {name: {"value": 1.0, "unit": "points"} for name in
              ("box_ap", "box_ap_small", "mask_ap_medium", "box_ap_large", "box_ap50", "miou")}
    return {name: score["objects"] for name, score in with_counts(scores, found).items() if "objects" in score}


def test_borders_crowds_and_what_is_not_evaluated():
    assert counted(evaluator([1, 2], [1, 2])) == {"box_ap_small": 2, "mask_ap_medium": 2, "box_ap_large": 2}
    assert counted(evaluator(None, None)) == {"box_ap_small": 4, "mask_ap_medium": 2, "box_ap_large": 2}


def test_nothing_is_said_where_nobody_knows():
    assert counted(evaluator([1], [1], number=2)) == counted(SimpleNamespace(metrics=[SimpleNamespace()])) == {}
