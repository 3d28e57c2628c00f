"""Masks of classes: which are paired, what values and colours mean, sizes, what is refused."""
import numpy as np
import pytest
from own_sets import masks, save, write
from PIL import Image, ImageOps

from mimtransfer.errors import UserError
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.masks import find_masks, read_mask, read_table

LABELS = np.array([[0, 1, 2], [255, 1, 0]], dtype=np.uint8)
COLOURS = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (224, 224, 192)}
TABLE = "background: 0,0,0\n# roads and houses\nroad: 128,0,0\nhouse:0,128,0::\nignore: 224,224,192\n"


def paletted():
    image = Image.fromarray(LABELS, mode="P")
    palette = np.zeros((256, 3), np.uint8)
    for value, colour in COLOURS.items():
        palette[value] = colour
    image.putpalette(palette.ravel().tolist())
    return image


def coloured():
    return Image.fromarray(np.array([[COLOURS[value] for value in row] for row in LABELS.tolist()], dtype=np.uint8))


@pytest.mark.parametrize("image", [
    Image.fromarray(LABELS), paletted(), Image.fromarray(LABELS.astype(np.uint16)),
    Image.fromarray(LABELS.astype(np.int32)),
], ids=["index", "palette", "16 bits", "32 bits"])
def test_values_are_classes_and_255_is_none(tmp_path, image):
    read = read_mask(str(save(image, tmp_path / "a.tiff" if image.mode == "I" else tmp_path / "a.png")), None)
    assert read.dtype == np.uint8 and read.tolist() == LABELS.tolist()


def test_one_bit_is_zero_and_one(tmp_path):
    bits = save(Image.fromarray(np.array([[True, False]])), tmp_path / "a.png")
    assert read_mask(str(bits), None).tolist() == [[1, 0]]


def test_colours_by_a_table(tmp_path):
    table = read_table(str(write(tmp_path / "labelmap.txt", TABLE)))
    assert table.classes == ("background", "road", "house")
    for name, image in (("a.png", coloured()), ("b.png", paletted())):
        assert read_mask(str(save(image, tmp_path / name)), table).tolist() == LABELS.tolist()
    other = coloured()
    other.putpixel((1, 1), (1, 2, 3))
    with pytest.raises(UserError, match="has the colour 1,2,3, which the table does not name"):
        read_mask(str(save(other, tmp_path / "c.png")), table)


def test_values_by_a_table(tmp_path):
    table = read_table(str(write(tmp_path / "table.txt", "cell: 255\nbackground: 0\nignore: 7\n")))
    image = save(Image.fromarray(np.array([[0, 255, 7]], dtype=np.uint8)), tmp_path / "a.png")
    assert table.classes == ("cell", "background") and read_mask(str(image), table).tolist() == [[1, 0, 255]]
    image = save(Image.fromarray(np.array([[0, 3]], dtype=np.uint8)), tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b.png' holds 3, which is none of the 2 classes \(the table has 255, 0, 7\)"):
        read_mask(str(image), table)


@pytest.mark.parametrize(("text", "said"), [
    ("road 3", "line 1: 'road 3' is no line of a table"),
    ("road: 300", "is no line of a table"),
    ("road: 1,2", "is no line of a table"),
    ("a: 1\nb: 1", "line 2: 1 is there twice"),
    ("a: 1\na: 2", "the class 'a' occurs twice"),
    ("a: 1\nb: 1,2,3", "has values and colours, expected one kind"),
    ("", "has no line, expected one kind"),
    ("ignore: 1", "expected a list of class names"),
])
def test_broken_tables_are_refused(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        read_table(str(write(tmp_path / "table.txt", text)))
    assert said in str(error.value) and "table.txt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "image", "said"), [
    ("a.png", coloured(), "has colours (RGB), and no table says which class each one is"),
    ("a.jpg", Image.fromarray(LABELS), "is a JPEG, which changes values at the edges"),
    ("a.png", Image.fromarray(np.array([[0, 300]], dtype=np.uint16)), "holds 300, expected 0 to 255"),
    ("a.tiff", Image.fromarray(np.array([[0, -1]], dtype=np.int32)), "holds -1, expected 0 to 255"),
])
def test_masks_without_class_numbers_are_refused(tmp_path, name, image, said):
    with pytest.raises(UserError) as error:
        read_mask(str(save(image, tmp_path / name)), None)
    assert said in str(error.value) and name in str(error.value)


def test_a_broken_mask_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(UserError, match=r"a.png' cannot be read"):
        read_mask(str(tmp_path / "a.png"), None)


@pytest.mark.parametrize("layout", [
    ("images/{split}/{name}.jpg", "masks/{split}/{name}.png"),
    ("{split}/images/{name}.jpg", "{split}/masks/{name}.png"),
    ("images/{split}/{name}.jpg", "annotations/{split}/{name}_mask.png"),
], ids=["inside", "around", "suffix"])
def test_layouts_with_splits(tmp_path, layout):
    for split, number in (("train", 2), ("validation", 1)):
        for k in range(number):
            for pattern in layout:
                save(Image.new("L", (4, 3)), tmp_path / pattern.format(split=split, name=f"{split}{k}"))
    found = find_masks(str(tmp_path))
    assert {split: len(members) for split, members in found.items()} == {"train": 2, "val": 1}
    assert all(f"{split}" in masked.image and f"{split}" in masked.mask for split, members in found.items()
               for masked in members)


def test_vocs_lists(tmp_path):
    for name in "abc":
        save(Image.new("RGB", (4, 3)), tmp_path / f"JPEGImages/{name}.jpg")
        save(Image.new("L", (4, 3)), tmp_path / f"SegmentationClass/{name}.png")
    save(Image.new("RGB", (4, 3)), tmp_path / "JPEGImages/boxes_only.jpg")
    write(tmp_path / "ImageSets/Segmentation/train.txt", "a\n")
    write(tmp_path / "ImageSets/Segmentation/val.txt", "c\n")
    found = find_masks(str(tmp_path))
    assert {split: [masked.mask[-5] for masked in members] for split, members in found.items()} == {
        "train": ["a"], "val": ["c"]}
    write(tmp_path / "ImageSets/Segmentation/val.txt", "d\n")
    with pytest.raises(UserError, match=r"val.txt: 'd' has no image with a mask"):
        find_masks(str(tmp_path))


def test_index_maps_are_written_as_images_are_shown(tmp_path):
    """One mask is that of the stored image, one that of the image as it is shown; folders have equal names."""
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = np.asarray(ImageOps.exif_transpose(_with_exif(LABELS, exif)))
    for folder, labels in (("one", LABELS), ("two", shown)):
        (tmp_path / f"set/images/{folder}").mkdir(parents=True)
        Image.new("RGB", (3, 2)).save(tmp_path / f"set/images/{folder}/a.jpg", exif=exif)
        save(Image.fromarray(labels), tmp_path / f"set/masks/{folder}/a.png")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert data.classes == ("class 0", "class 1", "class 2") and len(data.notes) == 1
    for folder in ("one", "two"):
        written = Image.open(tmp_path / f"out/masks/{folder}/a.jpg.png")
        assert written.mode == "L" and np.asarray(written).tolist() == shown.tolist()
    lists = [(tmp_path / f"out/lists/{split}.txt").read_text() for split in ("train", "val")]
    assert sorted(lists) == ["one/a.jpg\n", "two/a.jpg\n"]


def _with_exif(labels, exif):
    image = Image.fromarray(labels)
    image.getexif()[0x0112] = exif[0x0112]
    return image


@pytest.mark.parametrize(("change", "said"), [
    (lambda root: save(Image.new("L", (5, 5)), root / "masks/0.png"), "0.png' has 5x5 pixels, its image 128x96"),
    (lambda root: (root / "masks/0.png").unlink(), "1 of 8 images in .* have no mask in .*, the first is '0.jpg'"),
    (lambda root: save(Image.new("L", (128, 96), 7), root / "masks/0.png"),
     r"0.png' holds 7, which is none of the 3 classes \(numbered from 0\)"),
    (lambda root: save(Image.new("RGB", (128, 96)), root / "images/0.png"),
     "0.png: the mask of two images, '0.jpg' and '0.png'"),
])
def test_what_does_not_fit_is_refused(tmp_path, change, said):
    root = masks(tmp_path / "set")
    change(root)
    with pytest.raises(UserError, match=said):
        convert(str(root), str(tmp_path / "out"))


@pytest.mark.parametrize(("values", "said"), [
    ((0, 255), "the masks hold 0 and 255 only, and 255 stands for no label"),
    ((255, 255), "the masks hold 255 only, and 255 stands for no label"),
    ((0, 0), "the masks hold 0 only: one class is nothing to learn; save them with a number for each class"),
    ((0, 38, 75), "the masks hold 0, 38, 75, 3 values up to 75: class numbers have no such gaps"),
])
def test_values_that_are_no_class_numbers_are_refused(tmp_path, values, said):
    labels = np.array([values], dtype=np.uint8)
    save(Image.new("RGB", labels.shape[::-1]), tmp_path / "set/images/a.png")
    save(Image.fromarray(labels), tmp_path / "set/masks/a.png")
    with pytest.raises(UserError, match=said):
        convert(str(tmp_path / "set"), str(tmp_path / "out"))


def test_classes_without_a_pixel_are_told(tmp_path):
    root = masks(tmp_path / "set", names=("background", "red", "green", "blue"))
    assert convert(str(root), str(tmp_path / "out")).notes == ["no pixel is of blue"]


def test_a_table_as_windows_writes_it(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfignore: 0\r\nroad: 1\r\n")
    table = read_table(str(tmp_path / "a.txt"))
    assert table.classes == ("road",) and table.values == {0: 255, 1: 0}


def test_a_turn_that_no_size_shows_is_told(tmp_path):
    exif = Image.Exif()
    for k, orientation in enumerate((1, 3, 6)):
        exif[0x0112] = orientation
        (tmp_path / "set/images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / f"set/images/{k}.jpg", exif=exif)
        save(Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)), tmp_path / f"set/masks/{k}.png")
    data = convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert data.notes[-1] == ("2 images are turned by their EXIF data at the same size: were they labelled as viewers "
                              "show them?")


def test_a_list_whose_name_fits_two_masks_is_refused(tmp_path):
    for folder in "ab":
        save(Image.new("RGB", (2, 1)), tmp_path / f"JPEGImages/{folder}/0.jpg")
        save(Image.fromarray(np.array([[0, 1]], np.uint8)), tmp_path / f"SegmentationClass/{folder}/0.png")
    write(tmp_path / "ImageSets/Segmentation/train.txt", "0\n")
    with pytest.raises(UserError, match=r"train.txt: '0' could be .*a/0.png' or .*b/0.png'"):
        find_masks(str(tmp_path))


@pytest.mark.parametrize("names", [("background", "leaf"), None])
def test_an_object_of_255_is_refused_with_and_without_names(tmp_path, names):
    masks(tmp_path / "set", number=3, names=names or ())
    if names is None:
        (tmp_path / "set/classes.txt").unlink()
    for k in range(3):
        save(Image.fromarray(np.array([[0, 255] * 64] * 96, np.uint8)), tmp_path / f"set/masks/{k}.png")
    with pytest.raises(UserError, match="the masks hold 0 and 255 only, and 255 stands for no label"):
        convert(str(tmp_path / "set"), str(tmp_path / "out"))


def test_one_mask_of_an_image_counts(tmp_path):
    image = Image.fromarray(LABELS)
    save(Image.new("RGB", (3, 2)), tmp_path / "images/a.jpg")
    for name in ("a.jpg", "a.png"):  # a picture of a mask beside it
        save(image, tmp_path / "masks" / name)
    assert find_masks(str(tmp_path))["train"][0].mask == str(tmp_path / "masks/a.png")
    save(image, tmp_path / "masks/a.bmp")
    with pytest.raises(UserError, match=r"masks/a.bmp and 'a.png' are masks of one name"):
        find_masks(str(tmp_path))
    image.save(tmp_path / "several.tif", save_all=True, append_images=[image])
    with pytest.raises(UserError, match=r"several.tif' holds several images"):
        read_mask(str(tmp_path / "several.tif"), None)
