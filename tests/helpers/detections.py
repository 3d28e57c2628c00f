"""Made detections and objects of COCO's kind, and pycocotools on copies of their images."""
import contextlib
import copy
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

SIZE = 140, 180
CATEGORIES = (2, 3, 7)


def _mask(box):
    """Return the ellipse in a box as compressed RLE."""
    (x, y, w, h), (rows, columns) = box, np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    rle = encode(np.asfortranarray(inside.astype(np.uint8)))
    return dict(size=list(SIZE), counts=rle["counts"].decode())


def _area(mask):
    from pycocotools.mask import area

    return float(area(mask))


def _box(rng):
    size = rng.uniform(0.5, 1, 2) * rng.choice([28, 80, 130])
    return [*rng.uniform([0, 0], np.array(SIZE[::-1]) - size), *size]


def made_coco(seed, num_images):
    """Return a COCO json: ids with gaps, empty images, crowds, all sizes; the last category is rare."""
    rng = np.random.default_rng(seed)
    coco = dict(images=[dict(id=5 + 3 * k, file_name=f"{k}.png", height=SIZE[0], width=SIZE[1])
                        for k in range(num_images)],
                categories=[dict(id=i, name=f"class {i}") for i in CATEGORIES], annotations=[])  # fmt: skip
    for image in coco["images"]:
        for _ in range(rng.integers(5)):
            box = _box(rng)
            coco["annotations"].append(dict(
                id=len(coco["annotations"]) + 1, image_id=image["id"], bbox=box, iscrowd=int(rng.random() < 0.1),
                category_id=int(rng.choice(CATEGORIES, p=[0.5, 0.45, 0.05])), segmentation=_mask(box),
                area=_area(_mask(box)),
            ))  # fmt: skip
    return coco


def made_detections(coco, seed, noise, digits=6):
    """Return detections with boxes and masks: near the objects, doubled, of other classes, of nothing.

    Args:
        noise: of the boxes, as a share of their size.
        digits: of the scores: with 1 there are many ties, also within an image.
    """
    rng, found = np.random.default_rng(seed), []

    def add(image, category, box, score):
        box = [float(side) for side in np.maximum(box, [0, 0, 4, 4])]
        found.append(dict(image_id=image, category_id=int(category), bbox=box, segmentation=_mask(box),
                          score=round(float(score), digits)))  # fmt: skip

    for one in coco["annotations"]:
        for _ in range(rng.integers(3)):
            moved = one["bbox"] + rng.normal(0, noise, 4) * np.tile(one["bbox"][2:], 2)
            category = rng.choice(CATEGORIES) if rng.random() < 0.2 else one["category_id"]
            add(one["image_id"], category, moved, rng.uniform(0.3, 1))
    for image in coco["images"]:
        for _ in range(rng.integers(3)):
            add(image["id"], rng.choice(CATEGORIES), _box(rng), rng.uniform(0, 0.8))
    return found


def copied(coco, detections, counts):
    """Return the json and the detections with each image as often as its count says, copies behind each other."""
    images, annotations, found = [], [], []
    for image, often in zip(sorted(coco["images"], key=lambda image: image["id"]), counts):
        for _ in range(often):
            new = len(images) + 1
            images.append({**image, "id": new})
            annotations += [{**one, "image_id": new, "id": len(annotations) + k + 1} for k, one in
                            enumerate(one for one in coco["annotations"] if one["image_id"] == image["id"])]
            found += [{**one, "image_id": new} for one in detections if one["image_id"] == image["id"]]
    return {**coco, "images": images, "annotations": annotations}, found


def evaluated(coco, detections, kind):
    """Return the COCOeval of pycocotools, at its own settings, as its documentation calls it."""
    other = "bbox" if kind == "segm" else "segmentation"
    found = [{key: value for key, value in one.items() if key != other} for one in copy.deepcopy(detections)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(coco)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(found), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run
