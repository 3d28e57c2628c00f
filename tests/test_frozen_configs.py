"""k-NN and linear probes on published small data: loaders read made data in the published layout, memory is training.

The made training images are dark, those of the test split bright, so that a pixel tells which split it is of.
"""
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
import shipped_configs
import torch
import torchvision
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from PIL import Image

from mimtransfer.registry import LOOPS, MODELS

pytestmark = pytest.mark.usefixtures("quick_weights")
DARK, BRIGHT = 40, 210
CLASSES = {"cifar10": 10, "cifar100": 100, "stl10": 10, "tiny-imagenet": 200}
SIZES = {"cifar10": 32, "cifar100": 32, "stl10": 96, "tiny-imagenet": 64}
LEAVES = [
    f"{way}_{model}" for way in ("knn", "linear-sweep")
    for model in ("vit-tiny-p4_cifar10-full", "vit-tiny-p4_cifar100", "vit-tiny-p8_stl10", "vit-tiny-p8_tiny-imagenet",
                  *(f"vit-base_{data}-224" for data in CLASSES))
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two dark training images and one bright test image of every class, as each archive unpacks."""
    folder = tmp_path_factory.mktemp("published") / "data"
    for name, make in {"cifar10": cifar10, "cifar100": cifar100, "stl10": stl10}.items():
        make(folder / name)
    tiny_imagenet(folder / "tiny-imagenet-200")
    return folder


def cifar10(root):
    root = root / "cifar-10-batches-py"
    for batch in range(1, 6):  # labels 0 to 3, 4 to 7, ...
        labels = [(4 * (batch - 1) + k) % 10 for k in range(4)]
        store(root / f"data_batch_{batch}", data=np.full((4, 3072), DARK, np.uint8), labels=labels)
    store(root / "test_batch", data=np.full((10, 3072), BRIGHT, np.uint8), labels=list(range(10)))
    store(root / "batches.meta", label_names=[f"class {k}" for k in range(10)])


def cifar100(root):
    root = root / "cifar-100-python"
    for split, count, level in (("train", 200, DARK), ("test", 100, BRIGHT)):
        labels = [k % 100 for k in range(count)]
        pixels = np.full((count, 3072), level, np.uint8)
        store(root / split, data=pixels, fine_labels=labels, coarse_labels=[0] * count)
    store(root / "meta", fine_label_names=[f"class {k}" for k in range(100)], coarse_label_names=["all"])


def stl10(root):
    root = root / "stl10_binary"
    root.mkdir(parents=True)
    for split, count, level in (("train", 20, DARK), ("test", 10, BRIGHT)):
        np.full((count, 3, 96, 96), level, np.uint8).tofile(root / f"{split}_X.bin")
        np.array([k % 10 + 1 for k in range(count)], np.uint8).tofile(root / f"{split}_y.bin")
    (root / "class_names.txt").write_text("\n".join(f"class {k}" for k in range(10)))


def tiny_imagenet(root):
    names = [f"n{k:08d}" for k in range(200)]
    (root / "val/images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(reversed(names)))
    dark, bright = (Image.new("RGB", (64, 64), (level,) * 3) for level in (DARK, BRIGHT))
    for k, name in enumerate(names):
        (root / "train" / name / "images").mkdir(parents=True)
        for i in range(2):
            dark.save(root / f"train/{name}/images/{name}_{i}.JPEG")
        bright.save(root / f"val/images/val_{k}.JPEG")
    rows = [f"val_{k}.JPEG\t{name}\t0\t0\t62\t62\n" for k, name in enumerate(names)]
    (root / "val/val_annotations.txt").write_text("".join(rows))


def store(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def load(leaf):
    return shipped_configs.load(f"classification/{leaf}.py")


@pytest.mark.parametrize("leaf", LEAVES)
def test_learns_from_the_training_split_and_is_scored_on_the_test_split(leaf, data, monkeypatch):
    monkeypatch.chdir(data.parent)
    # The archives are made here, so they have other checksums.
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *args: True)
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    cfg, name = load(leaf), re.search(r"cifar100?|stl10|tiny-imagenet", leaf)[0]
    for loader in (cfg.test_cfg.memory_dataloader, cfg.test_dataloader):
        assert loader.num_workers > 0
        loader.num_workers = 0
    runner = SimpleNamespace(model=None, seed=0, _randomness_cfg={}, visualizer=SimpleNamespace(),
                             build_dataloader=Runner.build_dataloader)  # fmt: skip
    loop = LOOPS.build(dict(cfg.test_cfg, runner=runner, dataloader=cfg.test_dataloader,
                            evaluator=Evaluator([cfg.test_evaluator])))  # fmt: skip
    assert type(loop).__name__ == ("KNNLoop" if leaf.startswith("knn") else "LinearSweepLoop")
    memory, tested = loop.memory_dataloader.dataset, loop.dataloader.dataset
    assert len(loop.classes) == CLASSES[name]
    assert np.bincount(memory.labels).tolist() == [2] * CLASSES[name]  # all of it: no subset
    assert np.bincount(tested.labels).tolist() == [1] * CLASSES[name]
    side = 224 if leaf.endswith("-224") else SIZES[name]
    for dataset, level in ((memory, DARK), (tested, BRIGHT)):
        inputs = dataset[len(dataset) - 1]["inputs"]
        assert inputs.shape == (3, side, side) and (inputs.int() - level).abs().max() <= 2  # JPEG
        # Nothing is cut off and nothing is drawn.
        assert [type(step).__name__ for step in dataset.transform.transforms] == ["Resize", "PILToTensor"]
        assert dataset.transform.transforms[0].size == [side, side]
    sampled = [int(i) for i in loop.memory_dataloader.sampler]
    assert sampled == list(range(len(memory)))


@pytest.mark.parametrize("leaf", LEAVES)
def test_model_fits_the_images(leaf):
    cfg, name = load(leaf), re.search(r"cifar100?|stl10|tiny-imagenet", leaf)[0]
    with torch.device("meta"):
        backbone = MODELS.build(cfg.model).backbone
    side, patch = (224, 16) if leaf.endswith("-224") else (SIZES[name], int(re.search(r"-p(\d)_", leaf)[1]))
    assert tuple(backbone.grid_size) == (side // patch, side // patch) and cfg.model.backbone.img_size == side


def test_the_same_data_are_named_alike_everywhere():
    """Protocols that differ in way or size alone have the same words for the rest."""
    names = {leaf: load(leaf).protocol for leaf in LEAVES}
    titles = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "stl10": "STL-10", "tiny-imagenet": "Tiny ImageNet"}
    for leaf, protocol in names.items():
        title = titles[re.search(r"cifar100?|stl10|tiny-imagenet", leaf)[0]]
        title += " at 224 pixels" if leaf.endswith("-224") else ""
        way = f"k-NN, {title}" if leaf.startswith("knn") else f"linear probe, {title}, cached features"
        assert protocol == way


@pytest.mark.parametrize("leaf", ["linear-sweep_vit-base_in1k", "linear-sweep_vit-base_in1k-1pct",
                                  "linear-sweep_vit-base_in1k-10pct"])
def test_imagenet_probes_describe_an_image(leaf):
    cfg = load(leaf)
    with torch.device("meta"):
        features = MODELS.build(cfg.model).eval()(torch.empty(2, 3, 224, 224))
    assert features.shape == (2, 768)
    fraction = {"1pct": 0.01, "10pct": 0.1}.get(leaf.rpartition("-")[2])
    assert cfg.test_cfg.memory_dataloader.dataset.get("fraction") == fraction
