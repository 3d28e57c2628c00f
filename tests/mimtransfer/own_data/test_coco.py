"""COCO jsons: which are found, where their images lie, classes, the split of a single one, what is refused."""
import json

import pytest
from own_sets import coco, save, write
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.own_data.coco import find_jsons, read_coco_set
from mimtransfer.own_data.convert import convert


def annotations(data):
    return {split: json.loads(open(data.path(split)).read()) for split in data.splits}


def test_jsons_that_are_split_are_used_as_they_are(tmp_path):
    root = tmp_path / "set"
    coco(root / "annotations/instances_train2017.json", root / "train2017", number=3)
    coco(root / "annotations/instances_val2017.json", root / "val2017", number=2, seed=1)
    write(root / "annotations/results.json", "[]")
    data = convert(str(root), str(tmp_path / "out"))
    assert data.path("train") == str(root / "annotations/instances_train2017.json")
    assert data.splits["val"].images == str(root / "val2017") and data.split_by == "given" and data.masks
    assert data.classes == ("red", "green") and data.splits["train"].num_objects == 6
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data.json"]


def test_roboflows_layout_and_its_root_category(tmp_path):
    for split, number in (("train", 3), ("valid", 2), ("test", 1)):
        path = tmp_path / split / "_annotations.coco.json"
        content = coco(path, tmp_path / split, number=number, masks=False)
        for category in content["categories"]:
            category["supercategory"] = "colours"
        content["categories"].insert(0, {"id": 0, "name": "colours", "supercategory": "none"})
        write(path, json.dumps(content))
    found = read_coco_set(str(tmp_path))
    assert found.classes == ("red", "green") and not found.masks
    for category in content["categories"]:  # read as data, whatever it is
        category["supercategory"] = [1]
    write(path, json.dumps({**content, "categories": content["categories"][1:]}))
    assert read_coco_set(str(path)).classes == ("red", "green")
    assert {split: len(file.content["images"]) for split, file in found.splits.items()} == {
        "train": 3, "val": 2, "test": 1}


def test_a_single_json_is_split_and_numbered_from_one(tmp_path):
    content = coco(tmp_path / "set/boxes.json", tmp_path / "set/images", number=10)
    for entry in content["annotations"]:
        entry["id"] -= 1  # 0 is no id to pycocotools
        del entry["iscrowd"]
    write(tmp_path / "set/boxes.json", json.dumps(content))
    data = convert(str(tmp_path / "set/boxes.json"), str(tmp_path / "out"))
    parts = annotations(data)
    assert {split: len(part["images"]) for split, part in parts.items()} == {"train": 8, "val": 2}
    names = [entry["file_name"] for part in parts.values() for entry in part["images"]]
    assert sorted(names) == sorted(entry["file_name"] for entry in content["images"])
    ids = sorted(entry["id"] for part in parts.values() for entry in part["annotations"])
    assert ids == list(range(1, 21))
    assert {entry["iscrowd"] for part in parts.values() for entry in part["annotations"]} == {0}
    assert parts["val"]["categories"] == content["categories"]
    for part in parts.values():
        images = {entry["id"] for entry in part["images"]}
        assert {entry["image_id"] for entry in part["annotations"]} == images
    # The same on any machine: names and seed alone decide.
    assert sorted(entry["file_name"] for entry in parts["val"]["images"]) == ["1.png", "7.png"]
    again = convert(str(tmp_path / "set/boxes.json"), str(tmp_path / "again"))
    assert annotations(again) == parts
    other = annotations(convert(str(tmp_path / "set/boxes.json"), str(tmp_path / "other"), seed=1))
    assert other["val"]["images"] != parts["val"]["images"]


def test_crowds_need_no_polygon(tmp_path):
    content = coco(tmp_path / "a.json", tmp_path)
    content["annotations"][0].update(iscrowd=1, segmentation={"size": [96, 128], "counts": [96 * 128]})
    write(tmp_path / "a.json", json.dumps(content))
    assert read_coco_set(str(tmp_path / "a.json")).masks
    content["annotations"][1]["segmentation"] = []
    write(tmp_path / "a.json", json.dumps(content))
    assert not read_coco_set(str(tmp_path / "a.json")).masks


def test_two_jsons_of_one_split_and_none_to_train_on_are_refused(tmp_path):
    coco(tmp_path / "train_a.json", tmp_path)
    coco(tmp_path / "train_b.json", tmp_path)
    with pytest.raises(UserError, match=r"train_a.json' and .*train_b.json' could both be the train annotations"):
        find_jsons(str(tmp_path))
    (tmp_path / "train_a.json").rename(tmp_path / "val_a.json")
    (tmp_path / "train_b.json").rename(tmp_path / "test_b.json")
    with pytest.raises(UserError, match="has test, val annotations but none to train on"):
        read_coco_set(str(tmp_path))


@pytest.mark.parametrize(("change", "said"), [
    (lambda c: c["annotations"][0].update(bbox=[1, 2, "3", 4]), "'bbox' is not four numbers"),
    (lambda c: c["annotations"][0].update(category_id=9), "annotations of categories that are not listed"),
    (lambda c: c["annotations"][0].update(image_id=99), "annotations of images that are not listed"),
    (lambda c: c["images"][0].update(width=None), "images whose 'width' is no positive number"),
    (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "is neither beside it nor in a folder"),
    (lambda c: c["images"][0].update(file_name="/etc/passwd"), "'/etc/passwd' is a path of one machine"),
    (lambda c: c["images"][1].update(file_name="absent.png"), "its image 'absent.png' is neither beside it"),
    (lambda c: c["categories"].append({"id": 8, "name": "red"}), "names of categories that occur more than once"),
    (lambda c: c.pop("annotations"), "has no list 'annotations'"),
    (lambda c: c["images"][2].update(width=96, height=128), "says that '2.png' has 96x128 pixels, but it has 128x96"),
    (lambda c: c["images"].append({**c["images"][1], "id": 99, "file_name": "./1.png"}), "'1.png' is listed twice"),
    (lambda c: c["annotations"][3].update(iscrowd=1, segmentation=[]), "annotation 4 is a crowd without a segmen"),
])
def test_broken_jsons_are_refused_in_one_line(tmp_path, change, said):
    content = coco(tmp_path / "a.json", tmp_path / "images")
    change(content)
    write(tmp_path / "a.json", json.dumps(content))
    with pytest.raises(UserError) as error:
        convert(str(tmp_path / "a.json"), str(tmp_path / "out"))
    assert said in str(error.value) and "a.json" in str(error.value) and "\n" not in str(error.value)


def test_boxes_of_images_that_are_read_turned_are_refused(tmp_path):
    coco(tmp_path / "a.json", tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 96)).save(tmp_path / "0.png", exif=exif)
    with pytest.raises(UserError, match=r"'0\.png' has 128x96 pixels, but it has 96x128, turned as its EXIF data say"):
        read_coco_set(str(tmp_path / "a.json"))


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    content = coco(tmp_path / "set/a.json", tmp_path / "set/images")
    save(Image.new("RGB", (128, 96)), tmp_path / "set/out.png")
    content["images"][0]["file_name"] = "../out.png"
    write(tmp_path / "set/a.json", json.dumps(content))
    with pytest.raises(UserError, match=r"'../out.png' leads out of"):
        read_coco_set(str(tmp_path / "set/a.json"))


def test_splits_of_other_classes_are_refused(tmp_path):
    coco(tmp_path / "train.json", tmp_path)
    content = coco(tmp_path / "val.json", tmp_path)
    content["categories"].reverse()
    write(tmp_path / "val.json", json.dumps(content))
    with pytest.raises(UserError, match=r"val.json: its categories are not those of .*\('green' in place of 'red'\)"):
        read_coco_set(str(tmp_path))


def test_a_folder_of_images_can_be_named(tmp_path):
    coco(tmp_path / "set/a.json", tmp_path / "elsewhere/pictures")
    with pytest.raises(UserError, match=r"convert_data.py --images DIR"):
        read_coco_set(str(tmp_path / "set/a.json"))
    data = convert(str(tmp_path / "set/a.json"), str(tmp_path / "out"), images=str(tmp_path / "elsewhere/pictures"))
    assert data.splits["train"].images == str(tmp_path / "elsewhere/pictures")
