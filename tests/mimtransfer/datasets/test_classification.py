"""Labelled images: subsets, published layouts, and augmentation that belongs to the sample."""
import random

import numpy as np
import pytest
import torch
import torchvision
from mmengine.runner import Runner
from PIL import Image

from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS


def build(**config):
    return DATASETS.build(dict(type="mimtransfer.ClassFolder") | config)


@pytest.fixture
def folder(tmp_path):
    """Two classes of 30 and 10 noisy pictures of 16 x 16."""
    draw = np.random.RandomState(0)
    for name, number in (("ant", 30), ("bee", 10)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(number):
            pixels = draw.randint(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{name}_{i:02}.png")
    return tmp_path / "train"


def test_a_fraction_is_balanced_and_part_of_a_larger_one(folder):
    small, large = build(root=str(folder), fraction=0.1, seed=1), build(root=str(folder), fraction=0.5, seed=1)
    assert np.bincount(small.labels[small.indices]).tolist() == [2, 2] and len(large) == 20
    assert set(small.indices) < set(large.indices)
    assert set(small.indices) == set(build(root=str(folder), num_images=4, seed=1).indices)
    assert set(small.indices) != set(build(root=str(folder), fraction=0.1, seed=2).indices)


def test_a_list_of_images(folder):
    (folder.parent / "list.txt").write_text("bee_03.png\nant/ant_07.png\n\nbee/bee_01.png\n")
    few = build(root=str(folder), list_file=str(folder.parent / "list.txt"))
    assert [few.source.samples[i][0].rpartition("/")[2] for i in few.indices] == ["ant_07.png", "bee_01.png",
                                                                                 "bee_03.png"]
    assert [few[i]["label"] for i in range(3)] == [0, 1, 1]


@pytest.mark.parametrize(("config", "message"), [
    (dict(fraction=0.0), r"fraction=0.0, .* expected one of them, fraction in \(0, 1\]"),
    (dict(fraction=0.5, num_images=3), "expected one of them"),
    (dict(list_file="lost.txt"), "list_file 'lost.txt' does not exist; did you mean 'list.txt'"),
    (dict(list_file="list.txt"), "list_file 'list.txt' names 'cat_01.png', which is not in 'train'"),
    (dict(list_file="empty.txt"), "names no image"),
    (dict(list_file="list.txt", fraction=0.5), "and another subset"),
    (dict(transform=[dict(type="TimmAugment", input_size=8, re_prob=0.25)]), "set model.random_erasing"),
    (dict(transform=[dict(type="TimAugment", input_size=8)]), "did you mean 'TimmAugment'"),
])
def test_refuses(config, message, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "list.txt").write_text("ant_01.png\ncat_01.png\n")
    (folder.parent / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=message):
        build(root="train", **config)


def test_an_item_depends_on_seed_epoch_and_number_alone(folder):
    """Also with workers, in another order, and after a restart."""
    augment = dict(type="TimmAugment", input_size=8, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic")

    def epochs(workers, batch, start=0, seed=5):
        loader = Runner.build_dataloader(dict(
            batch_size=batch, num_workers=workers, persistent_workers=workers > 0, drop_last=False,
            sampler=dict(type="mimtransfer.EpochSampler"), collate_fn=dict(type="default_collate"),
            dataset=dict(type="mimtransfer.ClassFolder", root=str(folder), transform=[augment])), seed=seed)
        for epoch in range(start, 2):
            loader.sampler.set_epoch(epoch)
            batches = list(loader)
            yield torch.cat([b["inputs"] for b in batches]), torch.cat([b["label"] for b in batches])

    first, second = epochs(0, 40)
    assert first[0].shape == (40, 3, 8, 8) and first[0].dtype == torch.uint8
    random.seed(1)
    torch.manual_seed(1)
    again, _ = epochs(2, 7)
    (resumed,) = epochs(1, 16, start=1)
    (other,) = epochs(0, 40, start=1, seed=6)
    assert torch.equal(again[0], first[0]) and torch.equal(again[1], first[1])
    assert torch.equal(resumed[0], second[0]) and not torch.equal(first[0], second[0])
    assert not torch.equal(other[0], second[0])


def test_tiny_imagenet(tmp_path):
    names = ["n02", "n01"]
    (tmp_path / "wnids.txt").write_text("\n".join(names) + "\n")
    for k, name in enumerate(names):
        (tmp_path / "train" / name / "images").mkdir(parents=True)
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("0\n")
        for i in range(2):
            Image.new("L", (8, 8), 100 * k + 10 * i).save(tmp_path / f"train/{name}/images/{name}_{i}.JPEG")
    (tmp_path / "val/images").mkdir(parents=True)
    rows = [("val_0.JPEG", "n01"), ("val_1.JPEG", "n02"), ("val_2.JPEG", "n01")]
    for i, (file, _) in enumerate(rows):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / "val/images" / file)
    (tmp_path / "val/val_annotations.txt").write_text("".join(f"{f}\t{n}\t0\t0\t62\t62\n" for f, n in rows))
    train = build(type="mimtransfer.TinyImageNet", root=str(tmp_path))
    val = build(type="mimtransfer.TinyImageNet", root=str(tmp_path), train=False)
    assert train.metainfo == val.metainfo == {"classes": ("n01", "n02")}
    assert [train[i]["label"] for i in range(4)] == [0, 0, 1, 1]
    assert [int(train[i]["inputs"][2, 0, 0]) for i in range(4)] == [100, 110, 0, 10]  # grey pictures become RGB
    assert [(val[i]["label"], int(val[i]["inputs"][0, 0, 0])) for i in range(3)] == [(0, 0), (1, 1), (0, 2)]
    (tmp_path / "val/images/val_1.JPEG").write_bytes(b"x")
    with pytest.raises(UserError, match=r"val_1\.JPEG' cannot be read"):
        val[1]
    with pytest.raises(UserError, match=r"wnids\.txt' cannot be read \(No such file or directory\); unpack"):
        build(type="mimtransfer.TinyImageNet", root=str(tmp_path / "train"))


def test_stl10(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no whole 'stl10_binary'"):
        build(type="mimtransfer.TorchvisionSTL10", root=str(tmp_path))
    source = torchvision.datasets.STL10
    monkeypatch.setattr(source, "_check_integrity", lambda self: True)
    folder = tmp_path / source.base_folder
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (3, 3, 96, 96), dtype=np.uint8)  # columns before rows
    pixels.tofile(folder / "test_X.bin")
    np.array([1, 10, 4], dtype=np.uint8).tofile(folder / "test_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = build(type="mimtransfer.TorchvisionSTL10", root=str(tmp_path), train=False)
    assert data.metainfo["classes"] == tuple("abcdefghij") and [data[i]["label"] for i in range(3)] == [0, 9, 3]
    assert torch.equal(data[1]["inputs"], torch.from_numpy(pixels[1].transpose(0, 2, 1).copy()))
