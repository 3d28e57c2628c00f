"""Mistakes in COCO jsons and their images, each with what doctor and pre-check must say."""
import os

from bad_data import (
    HEIGHT,
    WIDTH,
    Boxes,
    Case,
    Masks,
    at,
    cut,
    empty,
    fifo,
    float_tiff,
    folder,
    html,
    lost,
    picture,
    turned,
)

from mimtransfer.checks import FAIL, OK, WARN


def text(content):
    return lambda d: d.text.update(train=content)


def delete(key, split="train"):
    return lambda d: getattr(d, split).pop(key)


def put(key, value, split="train"):
    return lambda d: getattr(d, split).update({key: value})


def box(*values):
    return lambda d: d.first(bbox=list(values))


def mask(value, split="train"):
    return lambda d: d.first(split, segmentation=value)


def as_corners(annotation):
    x, y, w, h = annotation["bbox"]
    return [x, y, x + w, y + h]


def as_fractions(annotation):
    x, y, w, h = annotation["bbox"]
    return [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]


def concatenate(d):
    whole = d.dataset("val")
    d.cfg["val_dataloader"]["dataset"] = dict(type="ConcatDataset", datasets=[whole, whole])


def format_only(d):
    d.val.pop("annotations")
    d.cfg["val_evaluator"].update(format_only=True, outfile_prefix="out")


def same_images(d):
    d.val["images"] = [dict(entry, id=k) for entry, k in zip(d.train["images"], (20, 21))]
    d.dataset("val")["data_prefix"]["img"] = "train"


def one_image(d):
    d.train["images"] = d.train["images"][:1]
    d.train["annotations"] = d.train["annotations"][:2]


def turn_first(orientation, said):
    def change(d):
        stored = said if orientation < 5 else said[::-1]
        turned(d.root / "train/10.jpg", orientation, stored)
        d.image(width=said[0], height=said[1])
    return change


def go_on(d):
    html(d.root / "train/10.jpg")
    d.dataset()["pipeline"] = [dict(type="LoadImageFromFile", max_corrupt=1)]


def linked_json(d):
    lost(d.root / "link.json")
    d.dataset()["ann_file"] = "link.json"


def narrow(d):
    """An image of 2000 x 5 pixels, which was scaled to a height of 0."""
    picture(size=(2000, 5)).save(d.root / "train/10.jpg")
    d.image(width=2000, height=5)
    for entry in d.train["annotations"][:2]:
        entry.update(bbox=[100, 0, 300, 5], area=1500, segmentation=[[100, 0, 400, 0, 400, 5, 100, 5]])


def small(d):
    """An image of 30 x 24 pixels."""
    picture(size=(30, 24)).save(d.root / "train/10.jpg")
    d.image(width=30, height=24)
    for entry in d.train["annotations"][:2]:
        entry.update(bbox=[2, 2, 8, 8], area=64, segmentation=[[2, 2, 10, 2, 10, 10, 2, 10]])


def as_lvis(d):
    """Write the train json as LVIS v1 has it: without `file_name` and `iscrowd`."""
    d.every(iscrowd=...)
    for entry in d.train["images"]:
        entry["coco_url"] = f"http://images.cocodataset.org/train/{entry.pop('file_name')}"
    d.dataset().update(type="LVISV1Dataset", data_prefix=dict(img=""))


COCO = {
    # the file
    "no json": Case(Boxes, text(b"images: 4"), FAIL, "train.json' is no COCO json"),
    "json cut off": Case(Boxes, text(b'{"images": [{"id": 1'), FAIL, "train.json' is no COCO json"),
    "json of bytes": Case(Boxes, text(b"\xff\xfe\x00\x01"), FAIL, "train.json' is no COCO json"),
    "json is a list": Case(Boxes, text(b"[]"), FAIL, "train.json' is no COCO json"),
    "json too deep": Case(Boxes, text(b"[" * 100_000), FAIL, "train.json' is no COCO json"),
    "no images": Case(Boxes, delete("images"), FAIL, "'images'"),
    "no annotations": Case(Boxes, delete("annotations"), FAIL, "'annotations'"),
    "no categories": Case(Boxes, delete("categories"), FAIL, "'categories'"),
    "images is a dict": Case(Boxes, put("images", {"1": {}}), FAIL, "'images' is a dict, expected a list"),
    "annotations is null": Case(Boxes, put("annotations", None), FAIL, "'annotations'"),
    "an image is null": Case(Boxes, lambda d: d.train["images"].append(None), FAIL, "images that are no objects"),
    "an annotation is text": Case(Boxes, lambda d: d.train["annotations"].append("x"), FAIL,
                                  "annotations that are no objects"),
    "no image listed": Case(Boxes, put("images", []), FAIL, "lists 0 images"),
    "no annotation listed": Case(Boxes, put("annotations", []), FAIL, "0 annotations"),
    # images
    "image without id": Case(Boxes, lambda d: d.image(id=...), FAIL, "images without 'id'"),
    "image id is text": Case(Boxes, lambda d: d.image(id="10"), FAIL, "images whose 'id' is no integer"),
    "image id is null": Case(Boxes, lambda d: d.image(id=None), FAIL, "images whose 'id' is no integer"),
    "image ids collide": Case(Boxes, lambda d: d.image(id=11), FAIL, "ids of images that occur more than once: 11"),
    "no file_name": Case(Boxes, lambda d: d.image(file_name=...), FAIL, "images without 'file_name'"),
    "file_name is a number": Case(Boxes, lambda d: d.image(file_name=10), FAIL, "'file_name' is no text"),
    "file_name twice": Case(Boxes, lambda d: d.image(file_name="11.jpg"), WARN, "more than once: 11.jpg"),
    "no width": Case(Boxes, lambda d: d.image(width=...), FAIL, "images without 'width'"),
    "no height in val": Case(Boxes, lambda d: d.image("val", height=...), FAIL, "images without 'height'"),
    "width is text": Case(Boxes, lambda d: d.image(width="64"), FAIL, "'width' is no positive number"),
    "height is 0": Case(Boxes, lambda d: d.image(height=0), FAIL, "'height' is no positive number"),
    "width is NaN": Case(Boxes, lambda d: d.image(width=float("nan")), FAIL, "'width' is no positive number"),
    "sizes swapped": Case(Boxes, lambda d: d.image(width=HEIGHT, height=WIDTH), FAIL, "another size"),
    "image is not there": Case(Boxes, lambda d: os.remove(d.root / "train/10.jpg"), FAIL, "'10.jpg'"),
    "image in other case": Case(Boxes, lambda d: os.rename(d.root / "train/10.jpg", d.root / "train/10.JPG"), FAIL,
                                "10.JPG"),
    # categories
    "category without id": Case(Boxes, lambda d: d.category(id=...), FAIL, "categories without 'id'"),
    "category without name": Case(Boxes, lambda d: d.category(name=...), FAIL, "categories without 'name'"),
    "category id is text": Case(Boxes, lambda d: d.category(id="1"), FAIL, "categories whose 'id' is no integer"),
    "category ids collide": Case(Boxes, lambda d: d.category(id=2), FAIL, "ids of categories that occur more than"),
    "category names collide": Case(Boxes, lambda d: d.train["categories"].append(dict(id=3, name="ant")), FAIL,
                                   "names of categories that occur more than once: ant"),
    "category is no class": Case(Boxes, lambda d: d.category(name="wasp"), FAIL, "has no category 'ant'"),
    "classes in another order": Case(Boxes, lambda d: d.train["categories"].reverse(), FAIL, "order"),
    "classes without a comma": Case(Boxes, lambda d: d.dataset()["metainfo"].update(classes="ant"), FAIL,
                                    "classes is the text 'ant'"),
    # annotations
    "annotation without id": Case(Boxes, lambda d: d.first(id=...), FAIL, "annotations without 'id'"),
    "annotation id is text": Case(Boxes, lambda d: d.first(id="20"), FAIL, "annotations whose 'id' is no integer"),
    "annotation ids collide": Case(Boxes, lambda d: d.first(id=21), FAIL, "ids of annotations that occur more than"),
    "annotation id 0 in val": Case(Boxes, lambda d: d.first("val", id=0), FAIL, "annotations with id 0"),
    "annotation id 0 in train": Case(Boxes, lambda d: d.first(id=0), WARN, "annotations with id 0"),
    "no image_id": Case(Boxes, lambda d: d.first(image_id=...), FAIL, "annotations without 'image_id'"),
    "image_id is text": Case(Boxes, lambda d: d.first(image_id="10"), FAIL, "'image_id' is no integer"),
    "image_id unknown": Case(Boxes, lambda d: d.first(image_id=99), FAIL, "annotations of images that are not listed"),
    "no category_id": Case(Boxes, lambda d: d.first(category_id=...), FAIL, "annotations without 'category_id'"),
    "category_id unknown": Case(Boxes, lambda d: d.first(category_id=0), FAIL, "of categories that are not listed"),
    "no bbox": Case(Boxes, lambda d: d.first(bbox=...), FAIL, "annotations without 'bbox'"),
    "bbox is null": Case(Boxes, lambda d: d.first(bbox=None), FAIL, "'bbox' is not four numbers"),
    "bbox is empty": Case(Boxes, box(), FAIL, "'bbox' is not four numbers"),
    "bbox of three": Case(Boxes, box(1, 2, 3), FAIL, "'bbox' is not four numbers"),
    "bbox of text": Case(Boxes, box("6", "8", "20", "20"), FAIL, "'bbox' is not four numbers"),
    "bbox in a list": Case(Boxes, box([6, 8, 20, 20]), FAIL, "'bbox' is not four numbers"),
    "bbox with NaN": Case(Boxes, box(float("nan"), 8, 20, 20), FAIL, "'bbox' is not four numbers"),
    "bbox with inf": Case(Boxes, box(6, 8, float("inf"), 20), FAIL, "'bbox' is not four numbers"),
    "bbox with null in val": Case(Boxes, lambda d: d.first("val", bbox=[6, 8, None, 20]), FAIL, "not four numbers"),
    "bbox without area": Case(Boxes, box(6, 8, 0, 20), WARN, "boxes without area"),
    "bbox with negative side": Case(Boxes, box(26, 28, -20, -20), WARN, "boxes without area"),
    "bbox outside": Case(Boxes, box(-60, 8, 20, 20), WARN, "outside their image"),
    "boxes as fractions": Case(Boxes, lambda d: d.every(bbox=as_fractions), FAIL, "fractions"),
    "boxes as fractions in val": Case(Boxes, lambda d: d.every("val", bbox=as_fractions), FAIL, "fractions"),
    "boxes as corners": Case(Boxes, lambda d: d.every(bbox=as_corners), FAIL, "corners"),
    "boxes as corners in val": Case(Boxes, lambda d: d.every("val", bbox=as_corners), FAIL, "corners"),
    "no area": Case(Boxes, lambda d: d.first(area=...), FAIL, "annotations without 'area'"),
    "no area in val": Case(Boxes, lambda d: d.first("val", area=...), FAIL, "annotations without 'area'"),
    "area is text": Case(Boxes, lambda d: d.first(area="400"), FAIL, "'area' is no number"),
    "area is NaN": Case(Boxes, lambda d: d.first(area=float("nan")), FAIL, "'area' is no number"),
    "area of 400 digits": Case(Boxes, lambda d: d.first(area=10**400), FAIL, "'area' is no number"),
    "bbox of 400 digits": Case(Boxes, box(6, 8, 10**400, 20), FAIL, "'bbox' is not four numbers"),
    "polygon of 400 digits": Case(Masks, mask([[6, 8, 10**400, 8, 26, 28]]), FAIL, "coordinates that are no numbers"),
    "bbox of true and false": Case(Boxes, box(True, False, 20, 20), OK),
    "area 0 of one": Case(Boxes, lambda d: d.first(area=0), WARN, "annotations whose 'area' is not above 0"),
    "area 0 everywhere": Case(Boxes, lambda d: d.every(area=0), FAIL, "no usable object"),
    "area 0 everywhere in val": Case(Boxes, lambda d: d.every("val", area=0), FAIL, "no usable object"),
    "area as fraction": Case(Boxes, lambda d: d.every("val", area=0.13), WARN, "'area' is less than a tenth"),
    "no iscrowd in train": Case(Boxes, lambda d: d.every(iscrowd=...), OK),
    "no iscrowd in val": Case(Boxes, lambda d: d.first("val", iscrowd=...), FAIL, "annotations without 'iscrowd'"),
    "iscrowd is text": Case(Boxes, lambda d: d.first(iscrowd="false"), FAIL, "'iscrowd' is not 0 or 1"),
    "only crowds": Case(Boxes, lambda d: d.every(iscrowd=1), FAIL, "no usable object"),
    "only crowds in val": Case(Boxes, lambda d: d.every("val", iscrowd=1), FAIL, "no usable object"),
    "all to be ignored": Case(Boxes, lambda d: d.every(ignore=1), FAIL, "no usable object"),
    # masks
    "no segmentation for boxes": Case(Boxes, lambda d: d.every(segmentation=...), OK),
    "no segmentation": Case(Masks, lambda d: d.first(segmentation=...), FAIL, "without a segmentation"),
    "no segmentation in val": Case(Masks, lambda d: d.first("val", segmentation=...), FAIL, "without a segmentation"),
    "segmentation is null": Case(Masks, mask(None), FAIL, "without a segmentation"),
    "segmentation is empty": Case(Masks, mask([]), FAIL, "without a segmentation"),
    "segmentation [[]]": Case(Masks, mask([[]]), WARN, "polygons with fewer than 3 points"),
    "segmentation [[]] in val": Case(Masks, mask([[]], "val"), FAIL, "polygons with fewer than 3 points"),
    "segmentation [[]] everywhere": Case(Masks, lambda d: d.every(segmentation=[[]]), FAIL, "no usable object"),
    "two points in val": Case(Masks, mask([[6, 8, 26, 28]], "val"), FAIL, "polygons with fewer than 3 points"),
    "odd polygon": Case(Masks, mask([[6, 8, 26, 8, 26, 28, 6]]), FAIL, "odd number of coordinates"),
    "polygon of text": Case(Masks, mask([["6", "8", "26", "8", "26", "28"]]), FAIL, "coordinates that are no numbers"),
    "polygon with NaN": Case(Masks, mask([[6, 8, float("nan"), 8, 26, 28]]), FAIL, "coordinates that are no numbers"),
    "polygon is flat": Case(Masks, mask([6, 8, 26, 8, 26, 28]), FAIL, "neither a list of polygons nor RLE"),
    "polygons as fractions": Case(Masks, lambda d: d.every(segmentation=[[.1, .2, .4, .2, .4, .6]]), FAIL,
                                  "polygons that are not inside their box"),
    "RLE without counts": Case(Masks, mask(dict(size=[HEIGHT, WIDTH])), FAIL, "neither a list of polygons nor RLE"),
    "RLE of another size": Case(Masks, mask(dict(size=[WIDTH, HEIGHT], counts=[WIDTH * HEIGHT])), FAIL,
                                "RLE of another size"),
    "RLE of text that is none": Case(Masks, mask(dict(size=[HEIGHT, WIDTH], counts="x")), FAIL, "RLE of another size"),
    "RLE with wrong sum": Case(Masks, mask(dict(size=[HEIGHT, WIDTH], counts=[5, 5])), FAIL, "RLE of another size"),
    # the data sets
    "images below min_size": Case(Boxes, lambda d: d.dataset()["filter_cfg"].update(min_size=100), FAIL, "min_size"),
    "an image below min_size": Case(
        Boxes, small, WARN, "1 of 4 training images left out: smaller than 32 pixels (filter_cfg.min_size)"),
    "an image below min_size in val": Case(Boxes, lambda d: d.dataset("val").update(filter_cfg=dict(min_size=100)), OK),
    "an image without objects": Case(
        Boxes, lambda d: (small(d), d.train["annotations"].__delitem__(slice(2, 4))), WARN,
        "2 of 4 training images left out: 1 smaller than 32 pixels (filter_cfg.min_size) and 1 without an object of "
        "the classes (filter_cfg.filter_empty_gt)"),
    "an image without objects that is kept": Case(
        Boxes, lambda d: (d.dataset()["filter_cfg"].update(filter_empty_gt=False),
                          d.train["annotations"].__delitem__(slice(2, 4))), OK),
    "objects of other classes only": Case(
        Boxes, lambda d: (d.every(category_id=3), d.train["categories"].append(dict(id=3, name="other"))), FAIL,
        "no usable object"),
    "train and val share images": Case(Boxes, same_images, WARN, "also in the train data"),
    "one image": Case(Boxes, one_image, OK),
    "concatenated val": Case(Boxes, concatenate, FAIL, "ConcatDataset"),
    "test-dev with format_only": Case(Boxes, format_only, OK),
    "test-dev without format_only": Case(Boxes, delete("annotations", "val"), FAIL, "'annotations'"),
    # the images
    "image cut off": Case(Boxes, at("train/10.jpg", cut), FAIL, "cannot be read: 10.jpg"),
    "image broken, one allowed": Case(Boxes, go_on, WARN, "cannot be read: 10.jpg"),
    "LVIS v1 has no file_name": Case(Boxes, as_lvis, OK),
    "LVIS v1 without an image": Case(Boxes, lambda d: (as_lvis(d), os.remove(d.root / "train/11.jpg")), FAIL,
                                     "'train/11.jpg'"),
    "image empty": Case(Boxes, at("val/20.jpg", empty), FAIL, "cannot be read: 20.jpg"),
    "image is a web page": Case(Boxes, at("train/10.jpg", html), FAIL, "cannot be read: 10.jpg"),
    "image of floats": Case(Boxes, at("train/10.jpg", float_tiff), FAIL, "cannot be read: 10.jpg"),
    "image is a FIFO": Case(Boxes, at("train/10.jpg", fifo), FAIL, "10.jpg"),
    "image is a folder": Case(Boxes, at("train/10.jpg", folder), FAIL, "10.jpg"),
    "image is a link to nothing": Case(Boxes, at("train/12.jpg", lost), FAIL, "12.jpg"),
    "json is a link to nothing": Case(Boxes, linked_json, FAIL, "it is a link to "),
    "images in a link to nothing": Case(Boxes, lambda d: (lost(d.root / "gone-root"), d.dataset().update(
        data_root=str(d.root / "gone-root"))), FAIL, "it is a link to "),
    "a narrow image": Case(Masks, narrow, WARN, "1 of 4 training images left out"),
    "turned, said as stored": Case(
        Boxes, lambda d: turned(d.root / "train/10.jpg", 6), FAIL, "EXIF"),
    "turned, said upright": Case(Boxes, turn_first(6, (WIDTH, HEIGHT)), OK),
    "upside down": Case(Boxes, turn_first(3, (WIDTH, HEIGHT)), WARN, "EXIF"),
}
