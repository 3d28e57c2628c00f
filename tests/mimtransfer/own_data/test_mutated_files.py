"""Whatever is in a file of labels, it is read or refused in one line that names it: no other error."""
import random

import pytest
from own_sets import save, xml
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.own_data.coco import read_coco_set
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.masks import read_table
from mimtransfer.own_data.voc import read_voc
from mimtransfer.own_data.yolo import read_yolo

YAML = "path: .\ntrain: images\nval: images\nnc: 2\nnames: {0: red, 1: green}\n"
COCO = ('{"images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}], "annotations": [{"id": 1, '
        '"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0, '
        '"segmentation": [[1, 2, 4, 2, 4, 6]]}], "categories": [{"id": 1, "name": "red", "supercategory": "colour"}]}')
MANIFEST = ('{"schema": 1, "kind": "detection", "format": "yolo", "source": "/a", "classes": ["red"], "masks": false, '
            '"split_by": "given", "notes": [], "splits": {"train": {"images": "/a", "labels": "b", "num_images": 1, '
            '"num_objects": 1, "without_objects": 0, "names": ""}, "val": {"images": "/a", "labels": "b", '
            '"num_images": 1, "num_objects": 1, "without_objects": 0, "names": ""}}}')
READ = {
    "labels/a.txt": ("0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.9 0.1 0.5 0.9\n",
                     lambda root: read_yolo(str(root / "data.yaml"))),
    "data.yaml": (YAML, lambda root: read_yolo(str(root / "data.yaml"))),
    "images/a.xml": (xml("a.png", [("red", 1, 2, 20, 10, 0)], (20, 10)), lambda root: read_voc(str(root / "images"))),
    "images/a.json": (COCO, lambda root: read_coco_set(str(root / "images/a.json"))),
    "data.json": (MANIFEST, lambda root: convert(str(root), "unused")),
    "table.txt": ("road: 1\nignore: 7\nhouse: 200\n", lambda root: read_table(str(root / "table.txt"))),
}
PIECES = (b"", b"\0", b"\xff\xfe", b"-1", b"1e999", b"nan", b"null", b"[", b"}", b"<", b"&x;", b": ", b"\n", b"\"",
          b"*a", b"&a ", b"99999999999999999999", b"!!python/name:os.system", b"../", b"{}", b"true", b"[1]", b"0x10",
          b" ")


@pytest.mark.parametrize("name", READ)
def test_mutated_files_are_read_or_refused(tmp_path, name):
    text, read = READ[name]
    save(Image.new("RGB", (20, 10)), tmp_path / "images/a.png")
    for other in ("labels/a.txt", "data.yaml"):
        if name != "data.json":
            (tmp_path / other).parent.mkdir(exist_ok=True)
            (tmp_path / other).write_text(READ[other][0])
    read_or_not = []
    draw = random.Random(0)
    for k in range(150):
        content = text.encode()
        for _ in range(min(k, 3)):  # the first one as it is
            first = draw.randrange(len(content) + 1)
            content = content[:first] + draw.choice(PIECES) + content[first + draw.choice((0, 1, 1, 4, 30)):]
        (tmp_path / name).write_bytes(content)
        try:
            read(tmp_path)
            read_or_not.append(True)
        except UserError as error:
            assert "\n" not in str(error), content
            read_or_not.append(False)
    assert read_or_not[0] and not all(read_or_not)
