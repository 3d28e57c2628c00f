"""Testing on other data than those of the training: which split, whose classes, what the protocol says."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS
from own_sets import CLASSES, SIZE, coco, folders, masks, save, scenes, voc, write, yolo
from PIL import Image

from mimtransfer.cli.launch import enter_scope, load_config
from mimtransfer.errors import UserError
from mimtransfer.own_data.configure import set_data
from mimtransfer.own_data.convert import convert
from mimtransfer.own_data.tested import place_of, set_test_data
from mimtransfer.results.fingerprint import fingerprint, protocol_config

CONFIGS = Path(__file__).parents[3] / "configs"
DET = "detection/mask-rcnn_vitdet_vit-base_25e_coco-512.py"
BOXES = "detection/retinanet_vitdet_vit-base_100e_coco.py"
SEG = "segmentation/upernet_vit-base_160k_ade20k-512x512.py"
CLS = "classification/finetune_mae_vit-base_100e_in1k.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Path of a config as a training on own data writes it, by what it learns."""
    root, made = tmp_path_factory.mktemp("trained"), {}
    for name, config, source in (
        ("masks", DET, yolo(root / "leaves", polygons=True)), ("boxes", BOXES, voc(root / "a")),
        ("maps", SEG, masks(root / "roads")), ("classes", CLS, folders(root / "birds")),
    ):
        data = convert(str(source), str(root / f"work_{name}"))
        cfg = load_config(str(CONFIGS / config), [], prepare=lambda cfg, data=data: set_data(cfg, data))
        made[name] = root / f"own_{name}.py"
        cfg.dump(made[name])
    return made


def on_other(path, source, out, classes=None):
    """Return the config of a test on other data, and the lines for the user."""
    lines, place = [], place_of(str(source), str(out))
    cfg = load_config(str(path), [], prepare=lambda cfg: lines.extend(set_test_data(cfg, str(source), place, classes)))
    enter_scope(cfg)
    return cfg, lines


def named(cfg):
    """Return the name of the class of each box that is tested, by its place, as data set and evaluator have it."""
    found, classes = {}, cfg.test_dataloader.dataset.metainfo.classes
    for item in DATASETS.build(cfg.test_dataloader.dataset):
        objects = item["data_samples"].gt_instances
        for box, label in zip(objects.bboxes.tensor.int().tolist(), objects.labels.tolist()):
            found[tuple(box)] = classes[label]
    truth = json.loads(Path(cfg.test_evaluator.ann_file).read_text())
    assert [entry["name"] for entry in truth["categories"]] == list(classes)
    places = {(x, y, x + w, y + h): entry["category_id"] for entry in truth["annotations"]
              for x, y, w, h in [map(round, entry["bbox"])]}
    assert {place: truth["categories"][number - 1]["name"] for place, number in places.items()} == found
    return found


def drawn(number, seed=0):
    """Return the same of what was drawn."""
    objects = [found for _, objects in scenes(number, seed) for found in objects]
    return {(x, y, x + w, y + h): CLASSES[label] for label, x, y, w, h in objects}


def reversed_yolo(root, **kwargs):
    """Name the same objects in the other order."""
    yolo(root, **kwargs)
    for path in root.glob("labels/*/*.txt"):
        path.write_text("".join(f"{1 - int(line[0])}{line[1:]}\n" for line in path.read_text().splitlines()))
    write(root / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [green, red]")
    return root


def test_classes_of_boxes_are_found_by_name(trained, tmp_path):
    cfg, lines = on_other(trained["masks"], reversed_yolo(tmp_path / "other", polygons=True), tmp_path)
    assert named(cfg) == drawn(4, seed=1) and cfg.test_evaluator.metric == ["bbox", "segm"]
    assert cfg.test_dataloader.dataset.metainfo.classes == ("red", "green")
    assert lines[1:] == ["  val   4 images, 8 boxes, 0 images without objects (as given)"]
    assert cfg.protocol.endswith(", on leaves, tested on other")
    before = load_config(str(trained["masks"]), [])
    assert cfg.model == before.model and cfg.train_dataloader == before.train_dataloader
    assert cfg.val_dataloader == before.val_dataloader
    on = [fingerprint(protocol_config(each, "test")) for each in (cfg, before)]
    assert on[0] != on[1]


def test_a_single_set_is_tested_whole_and_a_test_part_first(trained, tmp_path):
    cfg, lines = on_other(trained["boxes"], voc(tmp_path / "cells", number=5), tmp_path)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 5 and cfg.protocol.endswith("on a, tested on cells")
    assert lines[1] == "  test  5 images, 10 boxes, 0 images without objects (all of a single set)"
    for split, number in (("val", 2), ("test", 3)):
        coco(tmp_path / f"coco/{split}.json", tmp_path / f"coco/{split}", number)
    cfg, lines = on_other(trained["boxes"], tmp_path / "coco", tmp_path)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 3 and "as given" in lines[1]
    assert named(cfg) == drawn(3) and cfg.test_dataloader.dataset.metainfo.classes == ("green", "red")
    # The same images in the same order of classes are the same protocol, whatever their form.
    again, _ = on_other(trained["boxes"], tmp_path / "coco/test.json", tmp_path)
    assert fingerprint(protocol_config(again, "test")) == fingerprint(protocol_config(cfg, "test"))


def test_yolo_without_images_to_train_on(trained, tmp_path):
    yolo(tmp_path / "set")
    write(tmp_path / "set/data.yaml", "path: .\ntest: images/val\nnames: [red, green]")
    cfg, lines = on_other(trained["boxes"], tmp_path / "set", tmp_path)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 4 and lines[1].startswith("  test  4 images")


@pytest.mark.parametrize(("form", "config"), [("voc", "boxes"), ("yolo", "boxes"), ("masks", "maps")])
def test_a_part_that_is_named_is_tested_alone_where_none_is_for_training(trained, tmp_path, form, config):
    """A list, or a folder, of val: the rest is no part of the test."""
    root = tmp_path / "set"
    if form == "yolo":
        yolo(root)
        for kind in ("images", "labels"):
            (root / kind / "train").rename(root / kind / "test")
        (root / "data.yaml").unlink()
        write(root / "classes.txt", "red\ngreen")
        expected = (8, "  test  8 images")
    else:
        {"voc": voc, "masks": masks}[form](root)
        write(root / f"ImageSets/{'Main' if form == 'voc' else 'Segmentation'}/val.txt", "1\n4\n")
        expected = (2, "  val   2 images")
    cfg, lines = on_other(trained[config], root, tmp_path)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == expected[0]
    assert lines[1].startswith(expected[1]) and lines[1].endswith("(as given)")


def test_boxes_without_masks_score_a_model_of_both(trained, tmp_path):
    cfg, lines = on_other(trained["masks"], voc(tmp_path / "cells"), tmp_path)
    assert cfg.model.type == "MaskRCNN" and cfg.test_evaluator.metric == ["bbox"]
    assert lines[-1] == "The data have no masks: box AP alone is scored"
    assert cfg.protocol.endswith("tested on cells, boxes only")
    assert named(cfg) == drawn(10)


def test_a_class_that_the_model_does_not_have(trained, tmp_path):
    yolo(tmp_path / "set")
    write(tmp_path / "set/data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [red, gren]")
    with pytest.raises(UserError, match=r"'gren' is no class of the model \('green', 'red'\)"):
        on_other(trained["boxes"], tmp_path / "set", tmp_path)
    for path in (tmp_path / "set").glob("labels/val/*.txt"):  # no object of it: the name does not matter
        path.write_text(path.read_text().splitlines()[0])
    found = named(on_other(trained["boxes"], tmp_path / "set", tmp_path)[0])
    assert found == {place: name for place, name in drawn(4, seed=1).items() if name == "red"}


def test_the_checkpoint_says_the_order_of_the_classes(trained, tmp_path):
    """Where a config was edited since: a score by its order would be one of other classes."""
    cfg, _ = on_other(trained["masks"], yolo(tmp_path / "set", polygons=True), tmp_path, ("green", "red"))
    assert cfg.test_dataloader.dataset.metainfo.classes == ("green", "red") and named(cfg) == drawn(4, seed=1)
    cfg, _ = on_other(trained["maps"], masks(tmp_path / "few", number=3), tmp_path, ("green", "background", "red"))
    assert cfg.test_dataloader.dataset.metainfo.classes == ("green", "background", "red")
    assert maps_of(cfg) == drawn_maps(3)


def maps_of(cfg):
    """Return for each image that is tested the name of the class of each pixel."""
    classes = np.array([*cfg.test_dataloader.dataset.metainfo.classes, *[""] * 256])[:256]
    return [classes[item["data_samples"].gt_sem_seg.data[0].numpy()].tolist()
            for item in DATASETS.build(cfg.test_dataloader.dataset)]


def drawn_maps(number):
    """Return the same of what was drawn."""
    found = []
    for _, objects in scenes(number):
        labels = np.full(SIZE[::-1], "background", dtype=object)
        for label, x, y, w, h in objects:
            labels[y : y + h, x : x + w] = CLASSES[label]
        found.append(labels.tolist())
    return found


def test_classes_of_maps_are_found_by_name(trained, tmp_path):
    cfg, _ = on_other(trained["maps"], masks(tmp_path / "few", number=3), tmp_path)
    assert maps_of(cfg) == drawn_maps(3) and cfg.protocol.endswith("on roads, tested on few")
    assert not (tmp_path / "tested_on_few/data/maps").exists()  # they have the model's numbers already
    other = masks(tmp_path / "other", number=3)
    write(other / "labelmap.txt", "red: 1\nbackground: 0\ngreen: 2\n")
    cfg, _ = on_other(trained["maps"], other, tmp_path)
    assert maps_of(cfg) == drawn_maps(3)
    assert cfg.test_dataloader.dataset.metainfo.classes == ("background", "red", "green")
    write(other / "labelmap.txt", "red: 1\nignore: 0\ngreen: 2\n")  # a part of the model's classes
    cfg, _ = on_other(trained["maps"], other, tmp_path)
    assert maps_of(cfg) == [[["" if name == "background" else name for name in row] for row in each]
                            for each in drawn_maps(3)]
    # What was converted before is read, and stays as it is.
    write(other / "labelmap.txt", "red: 1\nbackground: 0\ngreen: 2\n")
    converted = convert(str(other), str(tmp_path / "converted"), "segmentation")
    before = {path: path.read_bytes() for path in (tmp_path / "converted").rglob("*.png")}
    cfg, _ = on_other(trained["maps"], tmp_path / "converted", tmp_path)
    assert len(maps_of(cfg)) == converted.splits["val"].num_images and maps_of(cfg)[0] in drawn_maps(3)
    assert before == {path: path.read_bytes() for path in (tmp_path / "converted").rglob("*.png")}


def test_a_class_of_maps_that_the_model_does_not_have(trained, tmp_path):
    other = masks(tmp_path / "other", names=("background", "green", "blue", "red"))
    with pytest.raises(UserError, match=r"'blue' is no class of the model \('background', 'red', 'green'\); write the"):
        on_other(trained["maps"], other, tmp_path)
    write(other / "classes.txt", "background\ngreen\nred\nblue")  # no pixel of it: the name does not matter
    cfg, _ = on_other(trained["maps"], other, tmp_path)
    exchanged = {"background": "background", "red": "green", "green": "red"}
    assert maps_of(cfg) == [[[exchanged[name] for name in row] for row in each] for each in drawn_maps(8)]


def folders_of(cfg):
    """Return the class folder of each image that is tested, and the name of its class."""
    data = DATASETS.build(cfg.test_dataloader.dataset)
    return [(Path(path).parent.name, data.metainfo["classes"][label])
            for (path, _), label in zip(data.source.samples, data.labels)], data.metainfo


def test_class_folders_are_found_by_name(trained, tmp_path):
    cfg, lines = on_other(trained["classes"], folders(tmp_path / "new", number=4), tmp_path)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 4 and cfg.protocol.endswith("on birds, tested on new")
    assert "trained_classes" not in cfg.test_dataloader.dataset and len(lines) == 2
    # In another order, as of a data set of Hugging Face, whose folders are not sorted.
    cfg, _ = on_other(trained["classes"], tmp_path / "new", tmp_path, ("red", "green"))
    found, metainfo = folders_of(cfg)
    assert len(found) == 4 and all(folder == name for folder, name in found) and metainfo["classes"] == ("red", "green")
    # A part of them.
    cfg, lines = on_other(trained["classes"], tmp_path / "new", tmp_path, ("red", "blue", "green"))
    found, metainfo = folders_of(cfg)
    assert all(folder == name for folder, name in found) and set(metainfo["tested_classes"]) == {0, 2}
    assert cfg.protocol.endswith("tested on new, among 2 of 3 classes")
    assert lines[-1] == "The data lack classes of the model: accuracy is that among 2 of 3 classes"
    with pytest.raises(UserError, match=r"'red' is no class of the model \('green', 'blue'\); rename its folder"):
        on_other(trained["classes"], tmp_path / "new", tmp_path, ("green", "blue"))
    (tmp_path / "new/green").rename(tmp_path / "new/blue")
    with pytest.raises(UserError, match=r"'blue' is no class of the model \('green', 'red'\)"):
        on_other(trained["classes"], tmp_path / "new", tmp_path)
    cfg = load_config(str(trained["classes"]), [])
    cfg.train_dataloader.dataset.root = "absent"
    place = place_of(str(tmp_path / "new"), str(tmp_path))
    said = set_test_data(cfg, str(tmp_path / "new"), place)
    assert said[-1] == "Nothing names the 2 classes of the model: taken are the folders, sorted"
    save(Image.new("RGB", (8, 8)), tmp_path / "new/green/0.png")
    with pytest.raises(UserError, match=r"'blue', 'green', 'red', the model has 2 classes, .* give as many folders"):
        set_test_data(cfg, str(tmp_path / "new"), place)


def test_all_images_are_tested_whatever_part_the_config_took(trained, tmp_path):
    cfg = load_config(str(trained["classes"]), [])
    cfg.test_dataloader.dataset.fraction = 0.5
    set_test_data(cfg, str(folders(tmp_path / "new")), place_of(str(tmp_path / "new"), str(tmp_path)))
    enter_scope(cfg)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 10


def test_data_of_the_same_name_have_places_and_protocols_of_their_own(trained, tmp_path):
    made = [yolo(tmp_path / "a/val", polygons=True), yolo(tmp_path / "b/val", polygons=True, val=6)]
    tests = [on_other(trained["masks"], source, tmp_path)[0] for source in [*made, made[0]]]
    assert tests[0].protocol == tests[2].protocol and tests[0].protocol.endswith("tested on val")
    assert re.search(r"tested on val-[0-9a-f]{6}$", tests[1].protocol)
    assert [len(DATASETS.build(cfg.test_dataloader.dataset)) for cfg in tests] == [4, 6, 4]
    folders_ = {Path(cfg.test_evaluator.ann_file).parents[2].name for cfg in tests}
    assert len(folders_) == 2 and all((tmp_path / name / "data/data.json").is_file() for name in folders_)


@pytest.mark.parametrize("name", ["masks", "boxes", "maps", "classes"])
def test_images_of_the_training_are_refused(trained, tmp_path, name):
    """The val part of a set that was split is in a single set, too: tested whole it holds images learned by heart."""
    source = {"masks": "leaves", "boxes": "a", "maps": "roads", "classes": "birds"}
    folder = trained[name].parent / source[name]
    if name == "masks":  # its val part was given: it may be tested again
        assert on_other(trained[name], folder, tmp_path)[0].protocol.endswith("on leaves, tested on leaves")
        write(folder / "train.yaml", "path: .\nval: images/train\nnames: [red, green]")
        folder = folder / "train.yaml"
    number = {"masks": "8 of its 8", "boxes": "8 of its 10", "maps": "6 of its 8", "classes": "8 of its 10"}
    with pytest.raises(UserError, match=f"{number[name]} images were trained on, the first is"):
        on_other(trained[name], folder, tmp_path)


def test_knn_takes_all_of_its_data(tmp_path):
    cfg, _ = on_other(CONFIGS / "classification/knn_vit-base_in1k.py", folders(tmp_path / "birds"), tmp_path)
    assert cfg.test_cfg.memory_dataloader.dataset.root.endswith("folders/train")
    assert cfg.test_dataloader.dataset.root.endswith("folders/val") and cfg.protocol.endswith("on birds")


def test_a_config_of_coco_on_a_few_of_its_classes(tmp_path):
    yolo(tmp_path / "park")
    write(tmp_path / "park/data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [dog, person]")
    cfg, _ = on_other(CONFIGS / DET, tmp_path / "park", tmp_path)
    assert len(cfg.test_dataloader.dataset.metainfo.classes) == 80
    renamed = dict(zip(CLASSES, ("dog", "person")))
    assert named(cfg) == {place: renamed[name] for place, name in drawn(4, seed=1).items()}


def test_what_was_converted_before_stays_as_it_is(trained, tmp_path):
    convert(str(reversed_yolo(tmp_path / "set")), str(tmp_path / "converted"))
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "converted").rglob("*"))
    cfg, _ = on_other(trained["boxes"], tmp_path / "converted", tmp_path)
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "converted").rglob("*")) == before
    assert named(cfg) == drawn(4, seed=1)
