"""The embedded data set: same bytes for the same request, and boxes, masks and index maps that agree pixel by pixel."""
import filecmp
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from mimtransfer.datasets.scenes import objects as scenes_objects
from mimtransfer.datasets.scenes import write as scenes_write
from mimtransfer.datasets.scenes.compose import compose, min_visible_pixels, scene_rng
from mimtransfer.datasets.scenes.paint import paint
from mimtransfer.datasets.scenes.style import (
    DIGITS,
    LABELLED,
    PALETTE,
    SHAPES,
    SPLITS,
    STUFF,
    SceneStyle,
    segmentation_metainfo,
    thing_metainfo,
)
from mimtransfer.datasets.scenes.write import SceneSet, make_scenes
from mimtransfer.errors import UserError

CONFIGS = Path(__file__).parents[3] / "configs"
SIZE = (72, 101)
ALL = SceneStyle(things=DIGITS + SHAPES)


@pytest.fixture(scope="module")
def originals():
    return scenes_objects.load_originals()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small data set; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("scenes") / "made"
    scenes = SceneSet(SIZE, {"train": 16, "val": 9, "unlabelled": 5}, seed=3)
    meta = make_scenes(out, scenes, workers=1, progress=False)
    return out, scenes, meta


def files_of(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def picture(originals, seed=0, split="train", index=0, size=(48, 64), style=ALL):
    layout = compose(size, seed, split, index, style, originals)
    return paint(layout, style, scene_rng(seed, split, index, 1)), layout


# ---- determinism

def test_a_scene_is_a_function_of_seed_split_and_index(originals):
    first, layout = picture(originals, 1, "train", 2)
    again, same_layout = picture(originals, 1, "train", 2)
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(layout.index_map, same_layout.index_map)
    for other in ((2, "train", 2), (1, "unlabelled", 2), (1, "train", 3)):
        assert not np.array_equal(first, picture(originals, *other)[0])


def test_processes_and_restarts_do_not_change_a_byte(tmp_path):
    scenes = SceneSet((32, 40), {"train": 20, "val": 18, "unlabelled": 40})
    make_scenes(tmp_path / "one", scenes, workers=1, progress=False)
    make_scenes(tmp_path / "two", scenes, workers=2, progress=False)
    names = files_of(tmp_path / "one")
    assert names == files_of(tmp_path / "two") and len(names) == 20 * 2 + 18 * 2 + 40 + 4
    match, differ, failed = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", names, shallow=False)
    assert (len(match), differ, failed) == (len(names), [], [])


# ---- originals

def test_train_and_val_originals_are_disjoint_and_complete(originals):
    from sklearn.datasets import load_digits

    data = load_digits()
    for digit, name in enumerate(DIGITS):
        both = np.concatenate([originals["train"][name], originals["val"][name]])
        np.testing.assert_array_equal(both * 16, data.images[data.target == digit])
        assert len(originals["val"][name]) >= 40
    parts = [{image.tobytes() for name in DIGITS for image in originals[part][name]} for part in ("train", "val")]
    assert not parts[0] & parts[1]
    assert [sum(len(originals[part][name]) for name in DIGITS) for part in ("train", "val")] == [1347, 450]


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("unlabelled", "train"), ("val", "val")])
def test_a_split_draws_from_its_own_originals_alone(originals, split, part):
    style = SceneStyle(things=DIGITS)
    for index in range(4):
        alone = compose(SIZE, 0, split, index, style, {part: originals[part]})
        np.testing.assert_array_equal(alone.index_map, compose(SIZE, 0, split, index, style, originals).index_map)


# ---- boxes, masks and index maps

@pytest.mark.parametrize("split", LABELLED)
def test_annotations_and_index_maps_agree_pixel_by_pixel(made, split, capsys):
    out, scenes, meta = made
    coco = COCO(out / "annotations" / f"instances_{split}.json")
    things = scenes.style.things
    assert [coco.cats[i]["name"] for i in sorted(coco.cats)] == list(things) and min(coco.cats) == 1
    assert len(coco.imgs) == scenes.counts[split] and len(coco.anns) == meta["num_instances"][split]
    seen = set()
    for image_id, info in coco.imgs.items():
        with Image.open(out / split / info["file_name"]) as image:
            assert (image.height, image.width, image.mode) == (*SIZE, "RGB") == (info["height"], info["width"], "RGB")
        with Image.open(out / "seg" / split / info["file_name"].replace(".jpg", ".png")) as file:
            index_map = np.array(file)
        assert index_map.dtype == np.uint8 and index_map.shape == SIZE and index_map.max() <= len(meta["classes"])
        union = np.zeros(SIZE, np.uint8)
        annotations = coco.imgToAnns[image_id]
        assert annotations
        for annotation in annotations:
            mask = coco.annToMask(annotation).astype(bool)
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1]
            assert annotation["bbox"] == box and annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
            assert mask.sum() >= min_visible_pixels(scenes.style, min(SIZE))
            assert not union[mask].any(), "visible parts overlap"
            union[mask] = annotation["category_id"]
            seen.add(annotation["category_id"])
        np.testing.assert_array_equal(np.where(index_map <= len(things), index_map, 0), union)
    assert seen == set(range(1, len(things) + 1))


@settings(max_examples=20, deadline=None)
@given(size=st.tuples(st.integers(32, 120), st.integers(32, 120)), seed=st.integers(0, 99), index=st.integers(0, 999))
def test_any_image_size(originals, size, seed, index):
    image, layout = picture(originals, seed, "train", index, size)
    assert image.shape == (*size, 3)
    assert layout.instances[0].category == index % len(ALL.things) + 1
    covered = np.zeros(size, int)
    for instance in layout.instances:
        assert instance.visible.sum() >= min_visible_pixels(ALL, min(size))
        assert (layout.index_map[instance.visible] == instance.category).all()
        covered += instance.visible
    assert covered.max() <= 1
    np.testing.assert_array_equal(covered == 1, (layout.index_map > 0) & (layout.index_map <= len(ALL.things)))


def test_every_class_and_other_occur(originals):
    present = set()
    for index in range(40):
        layout = compose((48, 48), 0, "val", index, ALL, originals)
        present |= set(np.unique(layout.index_map).tolist())
    assert present == set(range(len(ALL.classes) + 1))


def test_objects_stand_out_from_what_lies_behind_and_change_nothing_else(originals):
    """Compare with the picture of the same scene without its object."""
    bare = {"num_occluders": (0, 0), "noise": (0, 0), "blur": (0, 0), "illumination": 0}
    style = SceneStyle(num_objects=(1, 1), contrast=(0.4, 0.4), surface_contrast=(0.15, 0.4), **bare)
    for index in range(8):
        full, layout = picture(originals, index=index, style=style)
        (instance,) = layout.instances
        layout.instances.clear()
        without = paint(layout, style, scene_rng(0, "train", index, 1))
        moved = np.linalg.norm(full.astype(float) - without, axis=2) / 255
        assert 0.25 < moved[instance.visible].mean() < 0.7
        reach = np.zeros((48 + 8, 64 + 8), bool)  # the window, and 4 pixels around it for the shadow
        rows, cols = instance.patch.window
        reach[rows.start : rows.stop + 8, cols.start : cols.stop + 8] = True
        assert (moved[~reach[4:-4, 4:-4]] == 0).all() and (moved[instance.visible] > 0.1).mean() > 0.95


# ---- names

def test_metainfo_and_palette():
    assert thing_metainfo()["classes"] == ("two", "four", "disc", "triangle", "cross")
    info = segmentation_metainfo(ALL)
    assert info["classes"] == (*DIGITS, *SHAPES, *STUFF)
    assert info["palette"] == [PALETTE[name] for name in info["classes"]]
    assert len(set(PALETTE.values())) == len(PALETTE) == 21


def test_configs_name_the_same_classes_files_and_folders(made):
    out, _, _ = made
    for kind, expected in (("detection", thing_metainfo()), ("segmentation", segmentation_metainfo())):
        config = runpy.run_path(str(CONFIGS / "_base_" / "data" / f"scenes_{kind}.py"))
        assert tuple(config["metainfo"]["classes"]) == expected["classes"]
        for loader in ("train_dataloader", "val_dataloader"):
            dataset = config[loader]["dataset"]
            paths = [*dataset["data_prefix"].values(), *([dataset["ann_file"]] if "ann_file" in dataset else [])]
            assert all((out / path).exists() for path in paths), paths


# ---- resuming, growing, refusing

def test_what_is_missing_is_restored_and_nothing_else_touched(tmp_path):
    scenes = SceneSet((40, 32), {"train": 3, "val": 2, "unlabelled": 3})
    meta = make_scenes(tmp_path, scenes, workers=1, progress=False)
    gone = ["train/000001.jpg", "unlabelled/000002.jpg", "seg/val/000000.png", "annotations/instances_train.json"]
    before = {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)}
    kept = "train/000000.jpg"
    stamp = (tmp_path / kept).stat().st_mtime_ns
    for name in gone:
        (tmp_path / name).unlink()
    (tmp_path / "train" / ".000007.jpg.tmp").write_bytes(b"half")  # a run that was killed here
    assert make_scenes(tmp_path, scenes, workers=1, progress=False) == meta
    assert {name: (tmp_path / name).read_bytes() for name in files_of(tmp_path)} == before
    assert (tmp_path / kept).stat().st_mtime_ns == stamp


def test_a_run_killed_before_the_end_goes_on(tmp_path, monkeypatch):
    scenes = SceneSet((40, 32), {"train": 3, "val": 2, "unlabelled": 3})
    draw = scenes_write._draw_scene

    def killed(out, scenes, originals, split, index):
        if (split, index) == ("val", 1):
            raise KeyboardInterrupt
        return draw(out, scenes, originals, split, index)

    monkeypatch.setattr(scenes_write, "_draw_scene", killed)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / "killed", scenes, workers=1, progress=False)
    assert (tmp_path / "killed/val/000000.jpg").exists() and not (tmp_path / "killed/meta.json").exists()
    monkeypatch.undo()
    meta = make_scenes(tmp_path / "killed", scenes, workers=1, progress=False)
    assert meta == make_scenes(tmp_path / "whole", scenes, workers=1, progress=False)


def test_a_complete_set_is_not_drawn_again(made, monkeypatch):
    out, scenes, meta = made

    def drawn(*args):
        raise AssertionError("drawn again")

    monkeypatch.setattr(scenes_write, "_write", drawn)
    assert make_scenes(out, scenes, progress=False) == meta


def test_more_scenes_are_added_and_other_scenes_refused(tmp_path):
    def scenes(train=2, seed=0, size=(32, 32), **style):
        return SceneSet(size, {"train": train, "val": 1, "unlabelled": 1}, seed, SceneStyle(**style))

    make_scenes(tmp_path, scenes(), workers=1, progress=False)
    first = (tmp_path / "train/000000.jpg").read_bytes()
    grown = make_scenes(tmp_path, scenes(train=4), workers=1, progress=False)
    assert (tmp_path / "train/000000.jpg").read_bytes() == first and grown["counts"]["train"] == 4
    for other, word in (
        (scenes(train=3), "4 train scenes there, 3 asked for"),
        (scenes(4, seed=1), "seed 0 there, 1 asked for"),
        (scenes(4, size=(32, 48)), r"size \[32, 32\] there"),
        (scenes(4, shear=0.1), "shear 0.2 there, 0.1 asked for"),
    ):
        with pytest.raises(UserError, match=rf"{word}.*--overwrite"):
            make_scenes(tmp_path, other, workers=1, progress=False)
    meta = make_scenes(tmp_path, scenes(1, seed=1), workers=1, overwrite=True, progress=False)
    assert sorted(p.name for p in (tmp_path / "train").iterdir()) == ["000000.jpg"]
    assert meta == json.loads((tmp_path / "meta.json").read_text()) and meta["seed"] == 1
    assert set(meta["sha256"]) == set(SPLITS)


def test_a_folder_of_someone_else_is_never_touched(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not empty and holds no scenes"):
            make_scenes(tmp_path, SceneSet(), overwrite=overwrite, progress=False)
    assert files_of(tmp_path) == ["train/mine.txt"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"things": ("two", "trianle")}, "unknown thing class 'trianle'; did you mean 'triangle'"),
        ({"things": ()}, "got no thing class"),
        ({"stuff": ("grass", "grass")}, "named twice"),
        ({"noise": (0.2, 0.1)}, "noise: got .*expected two numbers, 0 <= low <= high"),
        ({"noise": 0.1}, "noise: got 0.1, expected a value like"),
        ({"num_objects": (0, 2)}, "num_objects: .*at least 1"),
        ({"num_clutter": (0.5, 2)}, "num_clutter: .*integers"),
        ({"object_size": (0.3, 1.4)}, "object_size: "),
        ({"aspect": 0.5}, "aspect: "),
    ],
)
def test_bad_styles_are_refused_in_one_line(fields, message):
    with pytest.raises(UserError, match=message) as caught:
        SceneStyle(**fields)
    assert "\n" not in str(caught.value)


def test_objects_too_small_to_annotate_are_an_error_not_an_empty_scene(originals):
    with pytest.raises(UserError, match="too small to annotate"):
        compose((64, 64), 0, "train", 0, SceneStyle(object_size=(0.05, 0.05)), originals)
