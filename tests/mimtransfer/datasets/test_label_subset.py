"""LabelSubset around data sets of mmdet and mmseg: which labels it reads, which images it keeps, what it refuses."""
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

import mimtransfer  # noqa: F401  before mmdet and mmseg
from mimtransfer.datasets.label_order import shot_order, stratified_order
from mimtransfer.datasets.label_subset import class_counts, image_names
from mimtransfer.datasets.reading import stand_in
from mimtransfer.errors import UserError

# objects of the classes "a" and "b" in an image; the third has a crowd of "b" and one of a class left out
BOXES = [("x/1.png", ["a", "a"]), ("x/2.png", ["b"]), ("y/1.png", ["a", "other", "b crowd"]), ("y/2.png", []),
         ("y/3.png", ["a", "b", "b"]), ("y/4.png", ["a"])]
LEVELS = [[0, 1], [1, 1], [2, 3], [3, 255], [0, 0], [1, 2]]  # of index maps of two pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A COCO json without pictures, and pictures of two pixels with index maps."""
    folder = tmp_path_factory.mktemp("labels")
    categories = ["a", "other", "b"]
    boxes = [(number, name.split()) for number, (_, names) in enumerate(BOXES) for name in names]
    annotations = [dict(id=k, image_id=number, category_id=categories.index(name), bbox=[1, 1, 9, 9], area=81,
                        iscrowd=int(bool(crowd))) for k, (number, (name, *crowd)) in enumerate(boxes)]  # fmt: skip
    images = [dict(id=k, file_name=name, width=64, height=64) for k, (name, _) in enumerate(BOXES)]
    named = [dict(id=k, name=name) for k, name in enumerate(categories)]
    content = dict(images=images, annotations=annotations, categories=named)
    (folder / "train.json").write_text(json.dumps(content))
    for k, levels in enumerate(LEVELS):
        for place, pixels in (("maps", np.array([levels], np.uint8)), ("img", np.zeros((1, 2), np.uint8))):
            (folder / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / place / f"{k}.png")
    return folder


def detection(folder, **changes):
    init_default_scope("mmdet")
    return dict(type="CocoDataset", data_root=str(folder), ann_file="train.json", data_prefix=dict(img="images"),
                metainfo=dict(classes=("a", "b")), filter_cfg=dict(filter_empty_gt=True), pipeline=[], **changes)


def segmentation(folder, classes=("p", "q", "r"), **changes):
    init_default_scope("mmseg")
    stand_in("mmseg")  # as the tools: maps of one row are read as such
    prefix = dict(img_path="img", seg_map_path="maps")
    return dict(type="BaseSegDataset", data_root=str(folder), data_prefix=prefix, img_suffix=".png",
                metainfo=dict(classes=classes), pipeline=[dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
                **changes)  # fmt: skip


def subset(dataset, **kwargs):
    return DATASETS.build(dict(type="mimtransfer.LabelSubset", dataset=dataset, **kwargs))


def files(dataset):
    return [Path(dataset.get_data_info(k)["img_path"]).name for k in range(len(dataset))]


def test_boxes_of_the_classes_in_use_are_counted_and_crowds_are_not(folder):
    built = DATASETS.build(detection(folder))
    names = ["x/1.png", "x/2.png", "y/1.png", "y/3.png", "y/4.png"]  # that without boxes is left out by the data set
    assert image_names(built) == names
    assert class_counts(built).tolist() == [[2, 0], [0, 1], [1, 0], [1, 2], [1, 0]]
    whole = DATASETS.build(dict(detection(folder), filter_cfg=None))
    assert image_names(whole)[3] == "y/2.png" and class_counts(whole)[3].tolist() == [0, 0]


def test_index_maps_are_read_as_training_reads_them(folder):
    plain = DATASETS.build(segmentation(folder))
    assert image_names(plain) == [f"{k}.png" for k in range(6)]
    # 3 is no class of three, 255 no label
    assert class_counts(plain).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    reduced = DATASETS.build(segmentation(folder, reduce_zero_label=True))
    assert class_counts(reduced).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("make", [detection, segmentation])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_keeps_the_first_images_of_the_order(folder, make, seed):
    whole = DATASETS.build(make(folder))
    names, counts = image_names(whole), class_counts(whole)
    for share, length in ((0.01, 1), (0.5, len(names) // 2), (0.8, round(0.8 * len(names))), (1.0, len(names))):
        chosen = sorted(stratified_order(counts, names, seed, length))
        built = subset(make(folder), share=share, seed=seed)
        assert len(built) == length and image_names(built.dataset) == [names[k] for k in chosen]
        assert files(built) == [Path(names[k]).name for k in chosen]
        assert built.metainfo == whole.metainfo
    for shots in (1, 2, 30):
        built = subset(make(folder), shots=shots, seed=seed)
        assert image_names(built.dataset) == [names[k] for k in sorted(shot_order(counts, names, seed, shots))]


def test_the_same_images_wherever_the_data_lie(folder, tmp_path):
    moved = tmp_path / "deep" / "elsewhere"
    moved.parent.mkdir()
    moved.symlink_to(folder)
    for make in (detection, segmentation):
        for seed in range(4):
            there = subset(make(moved), share=0.4, seed=seed)
            assert files(there) == files(subset(make(folder), share=0.4, seed=seed))


def test_items_and_what_samplers_ask_for(folder):
    built = subset(detection(folder), shots=1, seed=0)
    assert [built.get_cat_ids(k) for k in range(len(built))] == [
        [box["bbox_label"] for box in built.get_data_info(k)["instances"]] for k in range(len(built))]  # fmt: skip
    assert built[0]["img_path"] == built.get_data_info(0)["img_path"]
    lazy = subset(detection(folder, lazy_init=True), shots=1, seed=0)
    lazy.full_init()
    lazy.full_init()
    assert files(lazy) == files(built)


@pytest.mark.parametrize(("kwargs", "message"), [
    ({}, "got share=None, shots=None, expected one of them"),
    ({"share": 0.1, "shots": 3}, "got share=0.1, shots=3, expected one of them"),
    ({"share": 0}, "the share of the labels is 0, expected a number in (0, 1], 0.1 for 10 %"),
    ({"share": 10}, "the share of the labels is 10, expected"),
    ({"shots": 0}, "the number of shots is 0, expected an integer >= 1"),
    ({"shots": 2.5}, "the number of shots is 2.5"),
    ({"share": 0.1, "seed": "1"}, "the seed of the subset is '1', expected an integer"),
])  # fmt: skip
def test_refuses_what_is_no_subset(folder, kwargs, message):
    with pytest.raises(UserError) as error:
        subset(detection(folder), **kwargs)
    assert message in str(error.value)


def test_refuses_data_without_labels(folder):
    unlabelled = dict(segmentation(folder), data_prefix=dict(img_path="img"))
    with pytest.raises(UserError, match="BaseSegDataset has neither boxes nor index maps"):
        subset(unlabelled, share=0.5)
    with pytest.raises(UserError, match="no step of the pipeline loads index maps"):
        subset(dict(segmentation(folder), pipeline=[]), share=0.5)


def test_refuses_data_of_which_no_image_has_an_object(folder, tmp_path):
    """Training would have no image to read."""
    content = json.loads((folder / "train.json").read_text())
    (tmp_path / "none.json").write_text(json.dumps(dict(content, annotations=[])))
    dataset = dict(detection(folder), ann_file=str(tmp_path / "none.json"), filter_cfg=None)
    with pytest.raises(UserError, match="LabelSubset: no image of CocoDataset has a label"):
        subset(dataset, shots=1)
