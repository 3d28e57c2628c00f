"""YOLO: fractions to pixels, classes, splits, what is refused."""
import json

import pytest
from own_sets import CLASSES, fractions, save, scenes, write, yolo
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.yolo import read_yolo


def one_image(root, labels, size=(200, 100), names="[red, green]", image="images/train/a.png"):
    save(Image.new("RGB", size), root / image)
    write(root / image.replace("images/", "labels/").replace(".png", ".txt"), labels)
    write(root / "data.yaml", f"train: images/train\nnames: {names}\n")
    return root


def test_boxes_in_pixels(tmp_path):
    found = read_yolo(str(one_image(tmp_path, "1 0.5 0.5 0.25 0.5\n\n0 0.05 0.1 0.1 0.2\n")))
    (image,) = found.splits["train"]
    assert found.classes == CLASSES and not found.masks and (image.width, image.height) == (200, 100)
    assert [(marked.label, marked.box) for marked in image.objects] == [(1, (75, 25, 50, 50)), (0, (0, 0, 20, 20))]


def test_polygons_in_pixels_with_their_area(tmp_path):
    one_image(tmp_path / "set", "0 0.1 0.1 0.5 0.1 0.1 0.6\n")
    save(Image.new("RGB", (200, 100)), tmp_path / "set/images/train/b.png")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"), share=0.5)
    assert data.masks and data.classes == CLASSES
    both = [json.loads((tmp_path / f"out/annotations/{split}.json").read_text()) for split in ("train", "val")]
    (entry,) = both[0]["annotations"] + both[1]["annotations"]
    assert entry["segmentation"] == [[20, 10, 100, 10, 20, 60]] and entry["bbox"] == [20, 10, 80, 50]
    assert entry["area"] == 80 * 50 / 2 and entry["iscrowd"] == 0 and entry["category_id"] == 1
    assert [category["name"] for category in both[0]["categories"]] == list(CLASSES)


def test_a_box_beside_polygons_leaves_boxes_alone(tmp_path):
    found = read_yolo(str(one_image(tmp_path, "0 0.1 0.1 0.5 0.1 0.1 0.6\n1 0.5 0.5 0.2 0.2\n")))
    assert not found.masks and found.notes == {"objects have a polygon and others only a box: no masks are learned": 1}


@pytest.mark.parametrize(("orientation", "shown"), [(1, (200, 100)), (3, (200, 100)), (6, (100, 200)), (8, (100, 200))])
def test_fractions_are_those_of_the_image_as_it_is_shown(tmp_path, orientation, shown):
    one_image(tmp_path, "0 0.5 0.5 0.5 0.25\n")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (200, 100)).save(tmp_path / "images/train/a.png", exif=exif)
    (image,) = read_yolo(str(tmp_path)).splits["train"]
    assert (image.width, image.height) == shown
    assert image.objects[0].box == (shown[0] / 4, shown[1] * 3 / 8, shown[0] / 2, shown[1] / 4)


def test_an_edge_outside_is_cut_and_told(tmp_path):
    found = read_yolo(str(one_image(tmp_path, "0 0.0 0.5 0.5 1.0\n")))
    assert found.splits["train"][0].objects[0].box == (0, 0, 50, 100)
    assert found.notes == {"boxes that ended outside their image were cut at its edge": 1}


def test_images_without_objects_and_lines_that_occur_twice(tmp_path):
    one_image(tmp_path / "set", "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n")
    for name in ("b", "c"):
        save(Image.new("RGB", (20, 10)), tmp_path / f"set/images/train/{name}.jpg")
    write(tmp_path / "set/labels/train/c.txt", "")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert sum(split.num_images for split in data.splits.values()) == 3
    assert sum(split.num_objects for split in data.splits.values()) == 1
    assert sum(split.without_objects for split in data.splits.values()) == 2
    assert data.notes == ["1 lines of labels that occur twice count once",
                          "1 images have no file of labels: no objects are in them"]


def test_equal_names_in_subfolders_stay_apart(tmp_path):
    for folder, x in (("one", 0.25), ("two", 0.75)):
        one_image(tmp_path, f"0 {x} 0.5 0.1 0.1\n", image=f"images/train/{folder}/a.png")
    found = read_yolo(str(tmp_path))
    assert {image.path.split("/")[-2]: image.objects[0].box[0] for image in found.splits["train"]} == pytest.approx(
        {"one": 40, "two": 140})


def test_names_by_number_are_in_their_order(tmp_path):
    assert read_yolo(str(one_image(tmp_path, "", names="{1: green, 0: red}"))).classes == CLASSES
    assert read_yolo(str(one_image(tmp_path, "", names="[7, 'no']"))).classes == ("7", "no")


def test_lists_other_roots_and_roboflow(tmp_path):
    yolo(tmp_path, train=3, val=2)
    write(tmp_path / "train.txt", "./images/train/0.png\nimages/train/2.png\n")
    write(tmp_path / "data.yaml", "path: /on/another/machine\ntrain: train.txt\nval: ../images/val\nnames: [a, b]")
    found = read_yolo(str(tmp_path / "data.yaml"))
    assert [image.path.split("/")[-1] for image in found.splits["train"]] == ["0.png", "2.png"]
    assert len(found.splits["val"]) == 2 and found.root == str(tmp_path / "images")


def test_val_that_names_train_again_is_split(tmp_path):
    yolo(tmp_path / "set", train=5, val=0)
    write(tmp_path / "set/data.yaml", "train: images/train\nval: images/train\nnames: [red, green]\n")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert (data.splits["train"].num_images, data.splits["val"].num_images) == (4, 1)
    assert data.split_by == "seed 0, 20 % for val"


def test_labels_beside_the_images_with_a_list_of_classes(tmp_path):
    for k, (image, objects) in enumerate(scenes(2)):
        save(image, tmp_path / f"{k}.png")
        write(tmp_path / f"{k}.txt", "".join(f"{label} {fractions(box)}\n" for label, *box in objects))
    write(tmp_path / "classes.txt", "red\ngreen\n")
    assert [len(image.objects) for image in read_yolo(str(tmp_path)).splits["train"]] == [2, 2]


@pytest.mark.parametrize(("labels", "said"), [
    ("2 0.5 0.5 0.1 0.1", "a.txt, line 1: class 2 is unknown, the names have 0 to 1"),
    ("-1 0.5 0.5 0.1 0.1", "class -1 is unknown"),
    ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is unknown"),
    ("0 0.5 0.5 0.1 0.1\n0 60 40 20 20", "a.txt, line 2: 60 is no fraction of the image, expected 0 to 1"),
    ("0 nan 0.5 0.1 0.1", "nan is no fraction"),
    ("0 0.5 0.5 0.1", "4 numbers, expected 5 for a box"),
    ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers, expected 5 for a box, or 7, 9, 11 ... for a polygon"),
    ("cat 0.5 0.5 0.1 0.1", "'cat 0.5 0.5 0.1 0.1' are no numbers"),
    ("0 0.5 0.5 0 0.1", "the box has no area"),
    ("0 0.1 0.1 0.2 0.2 0.3 0.3", "the polygon has no area"),
])
def test_broken_labels_are_refused_with_their_line(tmp_path, labels, said):
    with pytest.raises(UserError) as error:
        read_yolo(str(one_image(tmp_path, labels)))
    assert said in str(error.value) and "\n" not in str(error.value) and "a.txt" in str(error.value)


@pytest.mark.parametrize(("text", "said"), [
    ("train: images/train", "has no 'names' of classes"),
    ("names: [a, a]\ntrain: images/train", "the class 'a' occurs twice"),
    ("names: [a, true]\ntrain: images/train", "True is no class name"),
    ("names: {0: a, 2: b}\ntrain: images/train", "expected 0 to 1; number the classes from 0 without gaps"),
    ("names: [a, b]\nnc: 3\ntrain: images/train", "nc is 3, but 'names' has 2 classes"),
    ("names: [a]\ntrain: images/trian", "'train' names 'images/trian', which is not there"),
    ("names: [a]\nval: images/train", "names no images as 'train'"),
    ("names: [a]\ntrain: 3", "'train' is 3, expected a folder"),
    ("names: [a\ntrain: x", "no valid YAML"),
    ("names: !!python/object/apply:os.system [ls]\ntrain: images/train", "no valid YAML"),
    ("names: [a]\nkpt_shape: [17, 3]\ntrain: images/train", "is of poses"),
])
def test_broken_yaml_is_refused(tmp_path, text, said):
    one_image(tmp_path, "")
    write(tmp_path / "data.yaml", text)
    with pytest.raises(UserError) as error:
        read_yolo(str(tmp_path / "data.yaml"))
    assert said in str(error.value) and "data.yaml" in str(error.value) and "\n" not in str(error.value)


def test_two_images_with_the_same_labels_are_refused(tmp_path):
    one_image(tmp_path, "")
    save(Image.new("RGB", (20, 10)), tmp_path / "images/train/a.jpg")
    with pytest.raises(UserError, match=r"a.txt: the labels of two images, 'a.jpg' and 'a.png'"):
        read_yolo(str(tmp_path))


def test_no_labels_at_all_and_images_in_two_splits_are_refused(tmp_path):
    yolo(tmp_path, train=2, val=1)
    write(tmp_path / "list.txt", "images/train/1.png\n")
    write(tmp_path / "data.yaml", "train: images/train\nval: list.txt\nnames: [red, green]\n")
    with pytest.raises(UserError, match=r"1 images are in 'train' and in 'val', the first is .*1.png"):
        convert(str(tmp_path), f"{tmp_path}_out")
    (tmp_path / "labels").rename(tmp_path / "label")
    write(tmp_path / "data.yaml", "train: images/train\nnames: [red, green]\n")
    with pytest.raises(UserError, match="not one of 2 images has labels"):
        read_yolo(str(tmp_path))


@pytest.mark.parametrize("key", ["names", "nc", "train", "path"])
def test_aliases_that_unfold_to_gigabytes_are_refused(tmp_path, key):
    one_image(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    lists = ["a: &a0 [x]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 30))]
    keys = {"path": ".", "train": "images/train", "names": "[red, green]", "nc": 2, key: "[*a29]"}
    write(tmp_path / "data.yaml", "\n".join([*lists, *(f"{name}: {value}" for name, value in keys.items())]))
    with pytest.raises(UserError, match="an alias of a list or a mapping"):
        read_yolo(str(tmp_path))


def test_an_alias_of_a_text_is_read(tmp_path):
    one_image(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", "here: &here images/train\ntrain: *here\nnames: [red, green]\n")
    assert len(read_yolo(str(tmp_path)).splits["train"]) == 1


def test_files_as_windows_writes_them(tmp_path):
    one_image(tmp_path, "")
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xef\xbb\xbf1 0.5 0.5 0.25 0.5\r\n")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfred\r\ngreen\r\n")
    found = read_yolo(str(tmp_path))
    assert found.classes == CLASSES and [marked.label for marked in found.splits["train"][0].objects] == [1]


@pytest.mark.parametrize("twice", ["names: {0: red, 0: green, 1: blue}", "names: [red, green]\nnames: [green, red]"])
def test_keys_that_occur_twice_are_refused(tmp_path, twice):
    one_image(tmp_path, "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", f"train: images/train\n{twice}\n")
    with pytest.raises(UserError, match=r"data\.yaml: no valid YAML .the key '(0|names)' occurs twice"):
        read_yolo(str(tmp_path))


def test_labels_without_a_box_name_the_users_folder(tmp_path):
    source = yolo(tmp_path / "set")
    for split, said in (("val", "no label file of 4 images of 'val' has a box"), ("train", "has a box; draw some")):
        for labels in (source / "labels" / split).glob("*.txt"):
            labels.write_text("")
        with pytest.raises(UserError) as error:
            convert(str(source), str(tmp_path / "out"))
        assert said in str(error.value) and str(error.value).startswith(f"{source}: ")
    assert not (tmp_path / "out").exists()
