"""Tiny data sets for detection, segmentation and classification, sound until a test breaks them, with their configs."""
import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
CLASSES = ["ant", "bee"]
EXIF_ORIENTATION = 0x0112


def picture(seed=0, size=(WIDTH, HEIGHT)):
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def turned(path, orientation, size=(WIDTH, HEIGHT)):
    """Write a JPEG that viewers turn."""
    image = picture(size=size)
    exif = image.getexif()
    exif[EXIF_ORIENTATION] = orientation
    image.save(path, exif=exif)


READ = [dict(type="LoadImageFromFile")]


class Data:
    """A data set below a folder, as a test may break it before the config is written.

    Args:
        root: an empty folder.
    """

    scope = "mmdet"

    def __init__(self, root: Path):
        self.root = Path(root)
        self.cfg = {}  # the config as a dictionary

    def write(self) -> str:
        """Write the config, with what else a run needs, and return its path."""
        path = self.root / "config.json"
        rest = dict(train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=1), val_cfg=dict(type="ValLoop"),
                    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)))
        for split in ("train", "val", "test"):
            if f"{split}_dataloader" in self.cfg:
                options = dict(batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False))
                self.cfg[f"{split}_dataloader"] = options | self.cfg[f"{split}_dataloader"]
        if "test_dataloader" in self.cfg:
            rest["test_cfg"] = dict(type="TestLoop")
        self.cfg = rest | self.cfg
        path.write_text(json.dumps(self.cfg))
        return str(path)

    def dataset(self, split="train") -> dict:
        return self.cfg[f"{split}_dataloader"]["dataset"]


class Boxes(Data):
    """COCO jsons `train` and `val`, 4 and 2 images with 2 objects each."""

    masks = False

    def __init__(self, root: Path):
        super().__init__(root)
        self.train, self.val = self._coco("train", 4, 10), self._coco("val", 2, 20)
        self.text = {}  # split -> what is written in place of its json
        roi_head = dict(bbox_head=dict(num_classes=2))
        if self.masks:
            roi_head["mask_head"] = dict(num_classes=2)
        self.cfg = dict(
            default_scope="mmdet",
            model=dict(type="MaskRCNN", backbone=dict(type="mimtransfer.TimmViT"), roi_head=roi_head),
            train_dataloader=dict(dataset=self._dataset("train", filter_cfg=dict(filter_empty_gt=True, min_size=32))),
            val_dataloader=dict(dataset=self._dataset("val", test_mode=True)),
            val_evaluator=dict(type="CocoMetric", ann_file=str(self.root / "val.json")),
        )

    def _coco(self, split, count, start):
        (self.root / split).mkdir()
        images, annotations = [], []
        for i in range(start, start + count):
            name = f"{i}.jpg"
            picture(i).save(self.root / split / name)
            images.append(dict(id=i, file_name=name, width=WIDTH, height=HEIGHT))
            for k in range(2):
                x, y, side = 6 + 30 * k, 8, 20
                polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
                annotations.append(dict(id=2 * i + k, image_id=i, category_id=k + 1, bbox=[x, y, side, side],
                                        area=side * side, iscrowd=0, segmentation=[polygon]))
        categories = [dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)]
        return dict(images=images, annotations=annotations, categories=categories)

    def _dataset(self, split, **more):
        return dict(type="CocoDataset", data_root=str(self.root), ann_file=f"{split}.json",
                    data_prefix=dict(img=split), metainfo=dict(classes=list(CLASSES)), pipeline=READ, **more)

    def write(self):
        for split in ("train", "val"):
            text = self.text.get(split, json.dumps(getattr(self, split)).encode())
            (self.root / f"{split}.json").write_bytes(text)
        return super().write()

    def first(self, split="train", **change):
        """Change the first annotation; a value `...` deletes the key."""
        self._change(getattr(self, split)["annotations"][:1], change)

    def every(self, split="train", **change):
        """Change all annotations; a function is called with each."""
        self._change(getattr(self, split)["annotations"], change)

    def image(self, split="train", **change):
        self._change(getattr(self, split)["images"][:1], change)

    def category(self, **change):
        for coco in (self.train, self.val):
            self._change(coco["categories"][:1], change)

    @staticmethod
    def _change(entries, change):
        for entry in entries:
            for key, value in change.items():
                if value is ...:
                    del entry[key]
                else:
                    entry[key] = value(entry) if callable(value) else copy.deepcopy(value)


class Masks(Boxes):
    """The same for a detector that learns masks."""

    masks = True


class Maps(Data):
    """Images and index maps of two classes and 255, 4 for training and 2 for validation."""

    scope = "mmseg"

    def __init__(self, root: Path):
        super().__init__(root)
        for split, count in (("train", 4), ("val", 2)):
            for i in range(count):
                self.pair(split, f"{split[0]}{i}")
        def loader(split, **more):
            return dict(dataset=dict(type="BaseSegDataset", data_root=str(root), metainfo=dict(classes=list(CLASSES)),
                                     data_prefix=dict(img_path=f"img/{split}", seg_map_path=f"map/{split}"),
                                     pipeline=READ, **more))
        self.cfg = dict(default_scope="mmseg",
                        model=dict(type="EncoderDecoder", backbone=dict(type="mimtransfer.TimmViT"),
                                   decode_head=dict(num_classes=2)),
                        train_dataloader=loader("train"), val_dataloader=loader("val", test_mode=True),
                        val_evaluator=dict(type="IoUMetric"))

    def pair(self, split, name, suffix=".jpg", labels=None):
        """Write an image and its map; names may hold folders."""
        self.image(split, name, suffix)
        path = self.root / "map" / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if labels is None:
            labels = np.zeros((HEIGHT, WIDTH), np.uint8)
            labels[10:30, 10:30], labels[:2] = 1, 255
        Image.fromarray(labels).save(path)

    def image(self, split, name, suffix=".jpg"):
        path = self.root / "img" / split / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().save(path, format="JPEG")

    def relabel(self, change):
        """Change all index maps, [H, W] uint8, by a function."""
        for path in self.root.glob("map/*/*.png"):
            Image.fromarray(change(np.asarray(Image.open(path)).copy())).save(path)


class Classes(Data):
    """Class folders of two classes, 3 images each, the same for validation."""

    scope = "mimtransfer"

    def __init__(self, root: Path):
        super().__init__(root)
        for split in ("train", "val"):
            for name in CLASSES:
                (self.root / split / name).mkdir(parents=True)
                for i in range(3):
                    picture(i).save(self.root / split / name / f"{i}.png")
        self.cfg = dict(default_scope="mimtransfer", task="classification",
                        model=dict(type="Classifier", num_classes=2, backbone=dict(type="mimtransfer.TimmViT")),
                        train_dataloader=dict(dataset=dict(type="ClassFolder", root=str(self.root / "train"))),
                        val_dataloader=dict(dataset=dict(type="ClassFolder", root=str(self.root / "val"))),
                        val_evaluator=dict(type="TopAccuracy"))


# What makes a file unreadable, in place


def cut(path):
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])


def empty(path):
    Path(path).write_bytes(b"")


def html(path):
    Path(path).write_bytes(b"<!DOCTYPE html><title>404 Not Found</title>")


def float_tiff(path):
    Image.fromarray(np.random.RandomState(0).rand(HEIGHT, WIDTH).astype(np.float32)).save(path, format="TIFF")


def fifo(path):
    Path(path).unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path):
    Path(path).unlink()
    Path(path).mkdir()


def lost(path):
    """Leave a link whose target is gone."""
    Path(path).unlink(missing_ok=True)
    Path(path).symlink_to(Path(path).with_name("gone"))


def at(name, break_it):
    """Break one file below the data set's folder."""
    return lambda d: break_it(d.root / name)


class Case(NamedTuple):
    """What is broken, and what must be said: the level, and a part of the line."""

    data: type
    change: Callable[[Data], object]  # called with the data, before the config is written
    level: str
    says: str = ""
