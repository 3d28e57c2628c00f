"""Conversions: what is recognised, where is written, what is read again, splits that are alike on any machine."""
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from own_sets import coco, folders, masks, save, voc, write, yolo
from PIL import Image

from mimtransfer.checks.class_folders import class_findings
from mimtransfer.datasets.unreadable import refuse
from mimtransfer.errors import UserError
from mimtransfer.own_data import convert as module
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.converted import begin_manifest
from mimtransfer.own_data.kept_config import check_place
from mimtransfer.own_data.recognise import recognise
from mimtransfer.own_data.splits import validation_images


def files(root):
    return {path.relative_to(root): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(Path(root).rglob("*")) if path.is_file()}


MAKERS = {
    "yolo": (yolo, "detection"), "voc": (voc, "detection"), "masks": (masks, "segmentation"),
    "folders": (folders, "classification"),
    "coco": (lambda root: coco(root / "a.json", root / "images") and root, "detection"),
}

@pytest.mark.parametrize("form", MAKERS)
def test_what_is_recognised_is_converted_and_read_again(tmp_path, form):
    make, task = MAKERS[form]
    source = make(tmp_path / "set")
    before = files(source)
    assert recognise(str(source)) == recognise(str(source), task) == (task, form)
    data = convert(str(source), str(tmp_path / "out"))
    assert files(source) == before  # nothing is written into the user's data
    assert (data.kind, data.format, data.name) == (task, form, "set") and set(data.splits) == {"train", "val"}
    assert convert(str(tmp_path / "out"), "unused", task) == data
    first = files(tmp_path / "out")
    convert(str(source), str(tmp_path / "out"))
    again = files(tmp_path / "out")
    assert {name: content for name, (content, _) in again.items()} == {
        name: content for name, (content, _) in first.items()}
    assert all(again[name] == written for name, written in first.items() if name.parts[0] == "masks")  # not anew


def test_the_task_of_the_config_chooses(tmp_path):
    voc(tmp_path, number=2)
    for k in range(2):
        save(Image.new("L", (128, 96), k), tmp_path / f"SegmentationClass/{k}.png")
    assert recognise(str(tmp_path)) == recognise(str(tmp_path), "detection") == ("detection", "voc")
    assert recognise(str(tmp_path), "segmentation") == ("segmentation", "masks")
    with pytest.raises(UserError, match="are voc for detection, but the config is of classification"):
        recognise(str(tmp_path), "classification")


@pytest.mark.parametrize(("form", "part"), [
    ("yolo", "images"), ("yolo", "labels"), ("voc", "JPEGImages"), ("coco", "images"), ("masks", "images"),
])
def test_a_part_of_a_data_set_is_answered_with_the_whole(tmp_path, form, part):
    make, task = MAKERS[form]
    make(tmp_path / "set")
    (tmp_path / "set" / part).mkdir(exist_ok=True)
    with pytest.raises(UserError) as error:
        recognise(str(tmp_path / "set" / part), task)
    assert str(error.value).endswith(f"of no known form; did you mean {str(tmp_path / 'set')!r} ({form})?")


def test_the_folder_above_is_named_only_for_what_is_asked(tmp_path):
    yolo(tmp_path / "set")
    for part, task in (("images", "segmentation"), ("others", "detection")):
        (tmp_path / "set" / part).mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"of no known form; expected {task}"):
            recognise(str(tmp_path / "set" / part), task)


@pytest.mark.parametrize(("make", "said"), [
    (lambda root: root / "absent", "are not there"),
    (lambda root: save(Image.new("RGB", (8, 8)), root / "set/a.png").parent, "of no known form; expected detection"),
    (lambda root: write(root / "a.csv", "a,b"), "a.csv' are a file of no known form; give a folder, a COCO json"),
    (lambda root: write(root / "afile", "a,b"), "afile' are a file of no known form; give a folder, a COCO json"),
    (lambda root: save(Image.new("RGB", (8, 8)), root / "set/red/a.png").parents[1],
     "of no known form; it holds one class folder, 'red', and one class is no classification"),
    (lambda root: save(Image.new("RGB", (8, 8)), root / "set/train/red/a.png").parents[2],
     "of no known form; it holds one class folder, 'red', and one class is no classification"),
])
def test_what_is_not_known_is_refused(tmp_path, make, said):
    with pytest.raises(UserError) as error:
        recognise(str(make(tmp_path)))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_folders_that_are_not_for_writing_are_refused(tmp_path):
    source = str(yolo(tmp_path / "set"))
    for out in (source, source + "/converted"):
        with pytest.raises(UserError, match="lies in the data"):
            convert(source, out)
    write(tmp_path / "full/thesis.tex", "")
    with pytest.raises(UserError, match=r"holds 'thesis.tex', which no conversion writes"):
        convert(source, str(tmp_path / "full"))
    write(tmp_path / "file", "")
    with pytest.raises(UserError, match="is a file"):
        convert(source, str(tmp_path / "file"))
    with pytest.raises(UserError, match="--table is for masks data, these are yolo"):
        convert(source, str(tmp_path / "out"), table="x")


@pytest.mark.parametrize("form", MAKERS)
def test_a_conversion_that_is_stopped_halfway_does_not_pass_for_whole(tmp_path, form, monkeypatch):
    """The manifest of the conversion before it stayed, beside labels of which some were new."""
    source, out = str(MAKERS[form][0](tmp_path / "set")), str(tmp_path / "out")
    whole = convert(source, out)
    monkeypatch.setattr(module, "write_manifest", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(source, out)
    with pytest.raises(UserError, match=r"data.json: the conversion was stopped before its end; run"):
        convert(out, "unused")
    monkeypatch.undo()
    assert convert(source, out) == whole
    with pytest.raises(UserError, match="leave it out"):  # a refusal leaves the earlier one
        convert(source, out, **{"images" if form != "coco" else "table": "x"})
    assert convert(out, "unused") == whole


@pytest.mark.parametrize("change", [
    {"schema": 2}, {"kind": "poses"}, {"classes": []}, {"classes": ["a", "a"]}, {"splits": {}},
    {"splits": {"train": {}, "val": {}}}, {"split_by": None}, {"notes": "x"},
])
def test_a_broken_manifest_is_refused(tmp_path, change):
    out = tmp_path / "out"
    convert(str(yolo(tmp_path / "set", train=1, val=1)), str(out))
    content = json.loads((out / "data.json").read_text())
    write(out / "data.json", json.dumps({**content, **change}))
    with pytest.raises(UserError, match=r"data.json"):
        convert(str(out), "unused")


def test_links_of_class_folders_follow_another_source(tmp_path):
    first, second = folders(tmp_path / "first"), folders(tmp_path / "second")
    for name, image in (("blue/0.png", 10), ("blue/1.png", 11), ("blue/2.png", 12), ("blue/3.png", 13)):
        save(Image.new("L", (8, 8), image), first / name)
    out = tmp_path / "out"
    convert(str(first), str(out), share=0.5)
    assert {path.name for path in (out / "folders/train").iterdir()} == {"blue", "green", "red"}
    convert(str(second), str(out), share=0.5)
    links = [path for path in (out / "folders").rglob("*") if path.is_symlink()]
    assert len(links) == 10 and {path.readlink().parents[1] for path in links} == {second}
    assert {path.name for path in (out / "folders/train").iterdir()} == {"green", "red"}  # an empty one were a class


def test_a_class_that_would_be_in_no_validation_image_is_refused(tmp_path):
    save(Image.new("L", (8, 8)), folders(tmp_path / "set") / "blue/0.png")
    with pytest.raises(UserError, match="the class 'blue' has 1 images, too few for its share of val; add images"):
        convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_split_gives_each_class_its_share():
    counts = np.zeros((40, 3), dtype=np.int32)
    counts[:, 0], counts[:10, 1], counts[5, 2] = 1, 2, 1
    names = [f"{k}.png" for k in range(40)]
    chosen = validation_images(counts, names, 0.2, 0)
    assert len(chosen) == 8 and sum(k < 10 for k in chosen) == 2 and 5 not in chosen  # the only one of class 2
    order = np.random.default_rng(0).permutation(40)
    again = validation_images(counts[order], [names[k] for k in order], 0.2, 0)
    assert {names[order[k]] for k in again} == {names[k] for k in chosen}
    assert validation_images(counts, names, 0.2, 1) != chosen
    assert len(validation_images(counts[:2], names[:2], 0.01, 0)) == 1
    with pytest.raises(UserError, match="cannot be split"):
        validation_images(counts[:1], names[:1], 0.2, 0)
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(UserError, match="expected a number in"):
            validation_images(counts, names, share, 0)


def val_of_train(root, form):
    """Make a set whose validation images are among those of train, under another name or in another list."""
    if form == "coco":
        coco(root / "annotations/instances_trainval.json", root / "images", number=4)
        coco(root / "annotations/instances_val.json", root / "images", number=2)
        return
    if form == "voc":
        write(voc(root, number=3) / "ImageSets/Main/train.txt", "0\n1\n")
        write(root / "ImageSets/Main/val.txt", "1\n2\n")
        return
    if form == "voc masks":
        for k in range(3):
            save(Image.new("RGB", (2, 1)), root / f"JPEGImages/{k}.jpg")
            save(Image.fromarray(np.array([[0, 1]], np.uint8)), root / f"SegmentationClass/{k}.png")
        write(root / "ImageSets/Segmentation/train.txt", "0\n1\n")
        write(root / "ImageSets/Segmentation/val.txt", "1\n2\n")
        return
    (folders if form == "folders" else yolo)(root / "made" if form == "folders" else root)
    if form == "folders":
        (root / "made").rename(root / "train")
        for name in ("red/0.png", "green/1.png"):
            (root / "val" / name).parent.mkdir(parents=True)
            (root / "val" / name).symlink_to(root / "train" / name)
    else:
        (root / "images/val/1.png").unlink()
        (root / "images/val/1.png").symlink_to(root / "images/train/1.png")


@pytest.mark.parametrize("form", ["coco", "yolo", "voc", "voc masks", "folders"])
def test_validation_images_that_are_trained_on_are_refused(tmp_path, form):
    val_of_train(tmp_path / "set", form)
    with pytest.raises(UserError, match=r"images are in 'train' and in 'val', the first is .*; give each image to one"):
        convert(str(tmp_path / "set"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_broken_picture_of_a_class_is_named_where_the_user_has_it(tmp_path):
    root = folders(tmp_path / "set")
    data = convert(str(root), str(tmp_path / "out"))
    linked = next(path for path in (tmp_path / "out/folders/val").rglob("*.png"))
    broken = linked.resolve()
    broken.write_bytes(b"junk")
    loader = {"dataset": {"type": "ClassFolder", "root": data.path("val")}}
    cfg = Config({"val_dataloader": loader, "model": {}})
    finding, = class_findings(cfg, ("val",), None)
    assert finding.what == (f"val data: 1 images that cannot be read: {broken} (not a picture in a format that Pillow "
                            "reads)")
    assert str(refuse(str(linked), "why")).startswith(f"image {str(broken)!r} cannot be read (why)")


def test_a_run_begins_again_where_the_conversion_was_stopped(tmp_path):
    """Also: one process of a run looks at the work dir while another converts. The manifest without an end was refused,
    with the advice to run another tool.
    """
    work_dir = tmp_path / "run"
    begin_manifest(str(work_dir / "data"), str(tmp_path / "set"))
    write(work_dir / "own_config.py", "")
    write(work_dir / "last_checkpoint", "")
    check_place(str(work_dir / "own_config.py"), str(tmp_path / "set"))
    with pytest.raises(UserError, match=r"holds a run on .*set', not on .*other'"):
        check_place(str(work_dir / "own_config.py"), str(tmp_path / "other"))
