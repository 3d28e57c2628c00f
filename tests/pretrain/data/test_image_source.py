"""Pretraining and classification from any source: the same batches, whatever holds the images and whoever reads."""
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mimtransfer.datasets.sampler import EpochSampler
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS
from pretrain.data import ImageFolder, ImageSource

CROP = dict(type="RandomResizedCropFlip", size=16)
BROKEN = 3  # of 40: the third image of each source


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp("roots")
    with tarfile.open(root / "all.tar", "w") as tar, zipfile.ZipFile(root / "all.zip", "w") as file:
        for number in range(40):
            buffer = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "JPEG" if number % 2 else "PNG")
            content = buffer.getvalue() if number % 20 != BROKEN else b"<html>"
            name = f"{number // 20}/{number:02d}.{'jpg' if number % 2 else 'png'}"
            path = root / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            tar.add(path, name)
            file.write(path, name)
    return root


def batches(images, workers=0, epoch=1):
    sampler = EpochSampler(images, seed=5)
    sampler.set_epoch(epoch)
    return list(DataLoader(images, 8, sampler=sampler, num_workers=workers))


def equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert torch.equal(a["inputs"], b["inputs"]) and all(map(torch.equal, a["record"], b["record"]))


@pytest.mark.parametrize("decoder", ["pillow", "turbo"])
def test_the_same_batches_from_every_source(decoder, roots):
    expected = batches(ImageFolder(CROP, str(roots / "folder"), decoder=decoder))
    for name, workers in [("folder", 0), ("folder", 2), ("all.tar", 0), ("all.tar", 2), ("all.zip", 0), ("all.zip", 2)]:
        images = DATASETS.build(dict(type="ImageSource", transform=CROP, source=str(roots / name), decoder=decoder))
        equal(batches(images, workers), expected)


def test_broken_members_are_named_and_counted(roots, monkeypatch):
    lines = []
    monkeypatch.setattr("pretrain.data.images.print_log", lambda line, **_: lines.append(line))
    for name in ("folder", "all.tar", "all.zip"):
        lines.clear()
        batches(ImageSource(CROP, str(roots / name), max_corrupt=2))
        assert len(lines) == 2 and all("cannot be read (not a picture" in line for line in lines)
        assert {Path(line.split()[1]).name for line in lines} == {"03.jpg", "23.jpg"}
        with pytest.raises(UserError, match="more than max_corrupt=1 images"):
            batches(ImageSource(CROP, str(roots / name), max_corrupt=1))


def test_evenly_spaced_images(roots):
    images = ImageSource(CROP, str(roots / "all.tar"), num_images=4)
    assert [images.name(index)[-6:] for index in range(4)] == ["00.png", "10.png", "20.png", "30.png"]
    with pytest.raises(UserError, match="num_images=41, expected 1 to 40"):
        ImageSource(CROP, str(roots / "all.tar"), num_images=41)


def test_a_config_of_an_image_folder_with_another_type(roots):
    config = dict(type="ImageSource", transform=CROP, root=str(roots / "folder"))
    equal(batches(DATASETS.build(config)), batches(ImageFolder(CROP, str(roots / "folder"))))
    assert len(ImageSource(CROP, str(roots / "all.tar"), root="data/nowhere")) == 40
    with pytest.raises(UserError, match="got source=None, expected a path"):
        ImageSource(CROP)


def test_labelled(roots):
    sets = [DATASETS.build(dict(type="LabelledImageSource", source=str(roots / name), num_images=10, max_corrupt=2))
            for name in ("folder", "all.tar", "all.zip")]
    for images in sets:
        assert images.metainfo["classes"] == ("0", "1")
        assert np.bincount(images.labels[images.indices]).tolist() == [5, 5]
    for items in zip(*([images[number] for number in range(10)] for images in sets)):
        assert len({item["label"] for item in items}) == 1
        assert all(torch.equal(item["inputs"], items[0]["inputs"]) for item in items)


def test_no_classes(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with pytest.raises(UserError, match="has no classes; expected one folder for each class"):
        DATASETS.build(dict(type="LabelledImageSource", source=str(tmp_path)))
