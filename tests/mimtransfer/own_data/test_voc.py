"""Pascal VOC: pixels from 1, difficult objects, EXIF rotation, lists, what is refused."""
import json

import numpy as np
import pytest
from own_sets import CLASSES, save, voc, write, xml
from PIL import Image, ImageOps

from mimtransfer.errors import UserError
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.voc import read_voc


def one_image(root, boxes, size=(200, 100), told=None, name="a"):
    save(Image.new("RGB", size), root / f"JPEGImages/{name}.jpg")
    write(root / f"Annotations/{name}.xml", xml(f"{name}.jpg", boxes, told or size))
    return root


def test_pixels_count_from_one_and_the_last_is_included(tmp_path):
    one_image(tmp_path, [("dog", 1, 1, 200, 100, 0), ("cat", 11, 21, 30, 50, 0), ("dog", 5, 5, 5, 5, 0)])
    found = read_voc(str(tmp_path))
    (image,) = found.splits["train"]
    assert found.classes == ("cat", "dog")  # sorted, whatever file comes first
    assert [(marked.label, marked.box) for marked in image.objects] == [
        (1, (0, 0, 200, 100)), (0, (10, 20, 20, 30)), (1, (4, 4, 1, 1))]


def test_difficult_objects_are_crowds_which_count_neither_way(tmp_path):
    one_image(tmp_path / "set", [("dog", 1, 1, 50, 50, 0), ("dog", 60, 1, 99, 50, 1)])
    one_image(tmp_path / "set", [("dog", 1, 1, 50, 50, 0)], name="b")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"), share=0.5)
    entries = [entry for split in ("train", "val") for entry in
               json.loads((tmp_path / f"out/annotations/{split}.json").read_text())["annotations"]]
    assert sorted((entry["bbox"], entry["iscrowd"]) for entry in entries) == [
        ([0, 0, 50, 50], 0), ([0, 0, 50, 50], 0), ([59, 0, 40, 50], 1)]
    assert sorted(entry["id"] for entry in entries) == [1, 2, 3]
    assert data.notes == ["1 difficult objects are neither learned nor scored (iscrowd 1)"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_the_stored_image_are_turned_with_it(tmp_path, orientation):
    """The box around a bright spot is where the spot is shown."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[10:30, 40:100] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "JPEGImages").mkdir()
    Image.fromarray(pixels).save(tmp_path / "JPEGImages/a.png", exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "JPEGImages/a.png")))[..., 0]
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    expected = (columns[0], rows[0], len(columns), len(rows))
    # As shown, sides exchanged or not: the file's size says it, and its box is that of the viewer.
    x, y, w, h = expected
    box = [("spot", x + 1, y + 1, x + w, y + h, 0)]
    write(tmp_path / "Annotations/a.xml", xml("a.png", box, shown.shape[::-1]))
    assert read_voc(str(tmp_path)).splits["train"][0].objects[0].box == expected
    if orientation >= 5:  # the size of the stored image: its box is of that
        write(tmp_path / "Annotations/a.xml", xml("a.png", [("spot", 41, 11, 100, 30, 0)], (200, 100)))
        found = read_voc(str(tmp_path))
        assert found.splits["train"][0].objects[0].box == expected
        assert (found.splits["train"][0].width, found.splits["train"][0].height) == (100, 200)
        assert found.notes == {"images are turned by their EXIF data; their boxes were turned with them": 1}


def test_lists_make_splits(tmp_path):
    voc(tmp_path, number=5)
    write(tmp_path / "ImageSets/Main/trainval.txt", "0\n1\n2\n3\n")
    write(tmp_path / "ImageSets/Main/val.txt", "1\n3\n")
    found = read_voc(str(tmp_path))
    assert {split: [image.path[-5] for image in images] for split, images in found.splits.items()} == {
        "train": ["0", "2"], "val": ["1", "3"]}
    assert found.notes == {"annotated images are in no list of ImageSets/Main and left out": 1}
    assert found.classes == ("green", "red")
    write(tmp_path / "classes.txt", "red\ngreen\n")
    assert read_voc(str(tmp_path)).classes == CLASSES


def test_equal_names_in_subfolders_and_files_beside_images(tmp_path):
    for folder, x1 in (("train", 10), ("valid", 20)):
        save(Image.new("RGB", (200, 100)), tmp_path / folder / "a.jpg")
        write(tmp_path / folder / "a.xml", xml("a.jpg", [("dog", 1, 1, x1, 10, 0)], (200, 100)))
    found = read_voc(str(tmp_path))
    assert {split: images[0].objects[0].box[2] for split, images in found.splits.items()} == {"train": 10, "val": 20}
    assert found.root == str(tmp_path)


def test_a_size_of_zero_is_none_and_pixel_zero_is_told(tmp_path):
    one_image(tmp_path, [("dog", 0, 1, 50, 50, 0)], told=(0, 0))
    found = read_voc(str(tmp_path))
    assert found.splits["train"][0].objects[0].box == (0, 0, 50, 50)
    assert list(found.notes) == ["boxes begin at pixel 0, though VOC counts from 1: was the file written by another "
                                 "rule?"]


BOX = "<object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object>"


@pytest.mark.parametrize(("text", "said"), [
    ("<annotation>", "no valid XML"),
    ("", "no valid XML"),
    ("<note/>", "begins with <note>, expected <annotation>"),
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
    ("<annotation><object><name>dog</name></object></annotation>", "object 1, 'dog': has no <bndbox>"),
    ("<annotation><object><bndbox/></object></annotation>", "object 1: has no name"),
    (f"<annotation>{BOX.format('x')}</annotation>", "xmax is 'x', expected a number of pixels"),
    (f"<annotation>{BOX.format('nan')}</annotation>", "xmax is 'nan'"),
    (f"<annotation>{BOX.format('1e99')}</annotation>", "xmax is '1e99'"),
    (f"<annotation>{BOX.format('-5')}</annotation>", "the box has no area"),
    (f"<annotation><size><width>20</width><height>10</height></size>{BOX.format('5')}</annotation>",
     "says 20x10 pixels, but"),
])
def test_broken_files_are_refused_with_their_name(tmp_path, text, said):
    save(Image.new("RGB", (200, 100)), tmp_path / "JPEGImages/a.jpg")
    write(tmp_path / "Annotations/a.xml", text)
    with pytest.raises(UserError) as error:
        read_voc(str(tmp_path))
    assert said in str(error.value) and "a.xml" in str(error.value) and "\n" not in str(error.value)


def test_boxes_beside_the_image_and_names_off_the_list_are_refused(tmp_path):
    one_image(tmp_path, [("dog", 300, 1, 350, 50, 0)])
    with pytest.raises(UserError, match=r"a.xml, object 1, 'dog': the box lies outside the image of 200x100 pixels"):
        read_voc(str(tmp_path))
    one_image(tmp_path, [("dgo", 1, 1, 50, 50, 0)])
    write(tmp_path / "classes.txt", "dog\n")
    with pytest.raises(UserError, match=r"a.xml, object 1, 'dgo': .*classes.txt has no such class"):
        read_voc(str(tmp_path))


def test_images_that_are_missing_broken_or_listed_in_vain_are_refused(tmp_path):
    one_image(tmp_path, [("dog", 1, 1, 50, 50, 0)])
    write(tmp_path / "ImageSets/Main/train.txt", "a\nb\n")
    with pytest.raises(UserError, match=r"train.txt, line 2: 'b' has no XML file"):
        read_voc(str(tmp_path))
    write(tmp_path / "ImageSets/Main/train.txt", "a\n")
    (tmp_path / "JPEGImages/a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a.jpg' cannot be read"):
        read_voc(str(tmp_path))
    (tmp_path / "JPEGImages/a.jpg").unlink()
    with pytest.raises(UserError, match=r"a.xml: its image 'a.jpg' is not in"):
        read_voc(str(tmp_path))
