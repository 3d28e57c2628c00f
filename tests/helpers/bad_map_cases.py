"""Mistakes in index maps and class folders, each with what doctor and pre-check must say."""
import os

import numpy as np
from bad_data import HEIGHT, WIDTH, Case, Classes, Maps, at, cut, empty, fifo, float_tiff, html, lost, picture, turned
from PIL import Image

from mimtransfer.checks import FAIL, OK, WARN


def half_in_capitals(d):
    for k in (0, 1):
        os.rename(d.root / f"img/train/t{k}.jpg", d.root / f"img/train/t{k}.JPG")


def of_floats(name):
    return lambda d: float_tiff(d.root / name)


def linked(with_maps):
    def change(d):
        (d.root / "elsewhere").mkdir()
        picture().save(d.root / "elsewhere/a.jpg")
        (d.root / "img/train/link").symlink_to(d.root / "elsewhere")
        if with_maps:
            (d.root / "map/train/link").mkdir()
            os.rename(d.root / "map/train/t0.png", d.root / "map/train/link/a.png")
            os.remove(d.root / "img/train/t0.jpg")
    return change


def loop(where):
    return lambda d: (d.root / where / "again").symlink_to(d.root / where)


def listed_and_lost(d):
    (d.root / "list.txt").write_text("t0\nt1\nt2\nt3\n")
    d.dataset()["ann_file"] = "list.txt"
    lost(d.root / "img/train/t2.jpg")


def narrow_pair(d):
    """One row of pixels: numpy's `squeeze` made it a line without height."""
    picture(size=(2000, 1)).save(d.root / "img/train/t0.jpg")
    Image.fromarray(np.arange(2000, dtype=np.uint8)[None] % 2).save(d.root / "map/train/t0.png")


def larger_map(d):
    d.pair("train", "t0", labels=np.zeros((HEIGHT + 1, WIDTH), np.uint8))


def no_text(*places):
    """Rename files to a byte that is no UTF-8, which a log cannot write."""
    def change(d):
        for place in places:
            path = d.root / place
            os.rename(path, os.fsencode(path.parent) + b"/\xff" + os.fsencode(path.suffix))
    return change


def locked(where):
    """An entry that cannot be listed: a link to itself stands for a folder without permission, which root may read."""
    return lambda d: (d.root / where / "self").symlink_to(d.root / where / "self")


MAPS = {
    "0 and 255 for two classes": Case(Maps, lambda d: d.relabel(lambda m: np.where(m == 1, 255, 0).astype(np.uint8)),
                                      FAIL, "255 is the ignore index"),
    "a class without a pixel": Case(Maps, lambda d: d.relabel(np.zeros_like), WARN, "without a single pixel"),
    "only 255": Case(Maps, lambda d: d.relabel(lambda m: np.full_like(m, 255)), FAIL, "holds a label"),
    "a value too many": Case(Maps, lambda d: d.relabel(lambda m: m + (m == 1)), FAIL, "values above 1"),
    "a value too many in the last": Case(
        Maps, lambda d: d.pair("train", "t3", labels=np.full((HEIGHT, WIDTH), 7, np.uint8)), FAIL, "values above 1"),
    "colours": Case(Maps, lambda d: picture().save(d.root / "map/train/t1.png"), FAIL, "t1.png"),
    "map of floats": Case(Maps, of_floats("map/train/t1.png"), FAIL, "t1.png"),
    "map cut off": Case(Maps, at("map/train/t1.png", cut), FAIL, "t1.png"),
    "map empty": Case(Maps, at("map/val/v1.png", empty), FAIL, "v1.png"),
    "map is a web page": Case(Maps, at("map/train/t1.png", html), FAIL, "t1.png"),
    "map of another size": Case(Maps, larger_map, FAIL, "another size"),
    "map is a FIFO": Case(Maps, at("map/train/t1.png", fifo), FAIL, "t1.png"),
    "segmentation image cut off": Case(Maps, at("img/train/t1.jpg", cut), FAIL, "t1.jpg"),
    "segmentation image empty": Case(Maps, at("img/val/v0.jpg", empty), FAIL, "v0.jpg"),
    "segmentation image is a web page": Case(Maps, at("img/train/t1.jpg", html), FAIL, "t1.jpg"),
    "segmentation image is a link to nothing": Case(Maps, at("img/train/t1.jpg", lost), WARN, "t1.jpg (a link to"),
    "listed image is a link to nothing": Case(Maps, listed_and_lost, FAIL, "t2.jpg"),
    "map is a link to nothing": Case(Maps, at("map/train/t1.png", lost), FAIL, "t1.png"),
    "a narrow image with its map": Case(Maps, narrow_pair, OK),
    "turned image": Case(Maps, lambda d: turned(d.root / "img/train/t0.jpg", 6), FAIL, "another size"),
    "image upside down": Case(Maps, lambda d: turned(d.root / "img/train/t0.jpg", 3), WARN, "EXIF"),
    "half of the images in capitals": Case(Maps, half_in_capitals, FAIL, "t0.JPG"),
    "another kind of image": Case(Maps, lambda d: picture().save(d.root / "img/train/t0.png")
                                  or os.remove(d.root / "img/train/t0.jpg"), FAIL, "t0.png"),
    "image without map": Case(Maps, lambda d: d.image("train", "new"), FAIL, "new.png"),
    "map in capitals": Case(Maps, lambda d: os.rename(d.root / "map/train/t0.png", d.root / "map/train/t0.PNG"), FAIL,
                            "t0.PNG"),
    "map without image": Case(Maps, lambda d: os.remove(d.root / "img/train/t0.jpg"), WARN, "t0.png"),
    "hidden image": Case(Maps, lambda d: d.image("train", "._t0"), WARN, "._t0.jpg"),
    "segmentation image is a FIFO": Case(Maps, lambda d: fifo(d.root / "img/train/pipe.jpg"), WARN, "pipe.jpg"),
    "notebook checkpoints": Case(Maps, lambda d: d.image("train", ".ipynb_checkpoints/t0-checkpoint"), FAIL,
                                 ".ipynb_checkpoints"),
    "linked folder": Case(Maps, linked(True), OK),
    "linked folder without maps": Case(Maps, linked(False), FAIL, "link/a.png"),
    "a loop of folders": Case(Maps, loop("img/train"), FAIL, "again"),
    "a name that is no text": Case(Maps, no_text("img/train/t0.jpg", "map/train/t0.png"), OK),
    "a map without image whose name is no text": Case(Maps, no_text("img/train/t0.jpg"), FAIL, r"\xff.png"),
    "a broken image whose name is no text": Case(
        Maps, lambda d: (empty(d.root / "img/train/t0.jpg"), no_text("img/train/t0.jpg", "map/train/t0.png")(d)), FAIL,
        r"\xff.jpg (the file is empty)"),
    "a link to itself": Case(Maps, locked("img/train"), FAIL, "self"),
    "classes of maps without a comma": Case(Maps, lambda d: d.dataset()["metainfo"].update(classes="object"), FAIL,
                                            "classes is the text 'object'"),
}


def another_kind(d):
    os.rename(d.root / "train/ant/0.png", d.root / "train/ant/0.heic")


def linked_root(d):
    lost(d.root / "link")
    return str(d.root / "link")


CLASS_FOLDERS = {
    "picture cut off": Case(Classes, at("train/ant/1.png", cut), FAIL, "1.png"),
    "picture empty": Case(Classes, at("val/ant/1.png", empty), FAIL, "1.png"),
    "picture is a web page": Case(Classes, at("train/bee/1.png", html), FAIL, "1.png"),
    "picture of floats": Case(Classes, at("train/bee/1.png", float_tiff), FAIL, "1.png"),
    "picture is a FIFO": Case(Classes, at("train/ant/1.png", fifo), WARN, "1.png"),
    "picture is a link to nothing": Case(Classes, at("train/ant/1.png", lost), WARN, "1.png (a link to nothing)"),
    "class is a link to nothing": Case(Classes, lambda d: lost(d.root / "train/cat"), WARN, "cat (a link to nothing)"),
    "the folder is a link to nothing": Case(Classes, lambda d: d.dataset().update(root=linked_root(d)), FAIL,
                                            "it is a link to "),
    "hidden picture": Case(Classes, lambda d: empty(d.root / "train/ant/._1.png"), WARN, "._1.png"),
    "notebook checkpoints as a class": Case(Classes, lambda d: (d.root / "train/.ipynb_checkpoints").mkdir(), WARN,
                                            ".ipynb_checkpoints"),
    "picture of another kind": Case(Classes, another_kind, WARN, "1 *.heic"),
    "capitals": Case(Classes, lambda d: os.rename(d.root / "train/ant/0.png", d.root / "train/ant/0.PNG"), OK),
    "an empty class": Case(Classes, lambda d: [os.remove(p) for p in (d.root / "train/ant").iterdir()], FAIL, "'ant'"),
    "a class too many": Case(Classes, lambda d: [(d.root / s / "cat").mkdir() for s in ("train", "val")] and
                             [picture().save(d.root / s / "cat/1.png") for s in ("train", "val")], FAIL, "num_classes"),
    "classes of val differ": Case(Classes, lambda d: os.rename(d.root / "val/ant", d.root / "val/wasp"), FAIL, "wasp"),
    "no class folder": Case(Classes, lambda d: d.dataset().update(root=str(d.root / "train/ant")), FAIL, "class"),
    "pictures beside the classes": Case(Classes, lambda d: picture().save(d.root / "train/0.png"), WARN, "0.png"),
    "a broken picture whose name is no text": Case(
        Classes, lambda d: (empty(d.root / "train/ant/0.png"), no_text("train/ant/0.png")(d)), FAIL,
        r"\xff.png (the file is empty)"),
    "a loop in a class": Case(Classes, loop("train/ant"), WARN, "again"),
    "a link in a class to itself": Case(Classes, locked("train/ant"), WARN, "self"),
    "a class in a link": Case(Classes, lambda d: (os.rename(d.root / "train/ant", d.root / "moved"),
                                                  (d.root / "train/ant").symlink_to(d.root / "moved")), OK),
}
