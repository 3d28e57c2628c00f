"""k-NN against scikit-learn in float64, accuracy, labelled data and their subsets, features of a backbone."""
import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader

from mimtransfer.datasets.classification import balanced_subset
from mimtransfer.errors import UserError
from mimtransfer.evaluation import knn_votes
from mimtransfer.evaluation.probing import features as probing_features
from mimtransfer.evaluation.probing import knn
from mimtransfer.evaluation.probing.features import check_classes, read_features
from mimtransfer.registry import DATASETS, METRICS, MODELS


def unit_vectors(generator, number, dim=12):
    vectors = generator.standard_normal((number, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (7, 1.0), (200, 0.2)])
def test_votes_equal_sklearn(k, temperature, monkeypatch):
    generator = np.random.default_rng(k)
    memory, queries = unit_vectors(generator, 200), unit_vectors(generator, 50)
    labels = generator.integers(0, 9, 200)
    labels[:10] = np.arange(10)  # every class is there
    monkeypatch.setattr(knn, "_MAX_SIMILARITIES", 7 * 200)  # chunks of 7, the last of 1
    votes = knn_votes(*map(torch.from_numpy, (queries, memory, labels)), 10, k, temperature)
    reference = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature))
    expected = reference.fit(memory, labels).predict_proba(queries)
    np.testing.assert_allclose(votes / votes.sum(1, keepdim=True), expected, rtol=1e-9, atol=1e-12)


def test_single_precision_agrees_and_a_small_temperature_does_not_overflow():
    generator = np.random.default_rng(0)
    tensors = [torch.from_numpy(unit_vectors(generator, number)) for number in (30, 100)]
    labels = torch.arange(100) % 5
    double = knn_votes(*tensors, labels, 5)
    torch.testing.assert_close(knn_votes(*[t.float() for t in tensors], labels, 5), double.float(), rtol=1e-3, atol=0)
    sharp = knn_votes(*[t.float() for t in tensors], labels, 5, temperature=1e-3)
    nearest = labels[(tensors[0] @ tensors[1].T).argmax(1)]
    assert sharp.isfinite().all() and torch.equal(sharp.argmax(1), nearest)


def test_equal_neighbours_have_equal_votes_and_the_lower_class_wins():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    votes = knn_votes(a[None], torch.stack([b, a, a, b]), torch.tensor([0, 2, 1, 2]), 4, k=2)
    assert votes.tolist() == [[0.0, 1.0, 1.0, 0.0]]
    metric = METRICS.build(dict(type="mimtransfer.TopAccuracy", topk=(1, 2, 3, 4), prefix="knn"))
    metric.dataset_meta = {"classes": tuple("abcd")}
    metric.process({}, [{"pred_score": votes[0], "gt_label": label} for label in range(4)])
    # the order is 1, 2, 0, 3; top 4 of 4 says nothing
    assert metric.evaluate(4) == {"knn/top1": 25.0, "knn/top2": 50.0, "knn/top3": 75.0}


def test_accuracy_equals_sklearn():
    generator = np.random.default_rng(3)
    scores, labels = generator.random((300, 8)), generator.integers(0, 8, 300)
    metric = METRICS.build(dict(type="mimtransfer.TopAccuracy"))
    metric.dataset_meta = {"classes": tuple("abcdefgh")}
    samples = [{"pred_score": torch.from_numpy(row), "gt_label": int(label)} for row, label in zip(scores, labels)]
    metric.process({}, samples[:170])
    metric.process({}, samples[170:])
    expected = {f"top{k}": 100 * top_k_accuracy_score(labels, scores, k=k, labels=range(8)) for k in (1, 5)}
    assert metric.evaluate(300) == pytest.approx(expected)


def test_scores_that_are_not_numbers_are_wrong():
    """A comparison with NaN is never true: by `>` alone no class would lie before the right one."""
    metric = METRICS.build(dict(type="mimtransfer.TopAccuracy", topk=(1, 2)))
    metric.dataset_meta = {"classes": tuple("abc")}
    nan = float("nan")
    rows = [[nan] * 3, [nan, 1.0, 2.0], [0.0, 1.0, nan], [0.0, 1.0, 2.0]]
    metric.process({}, [{"pred_score": torch.tensor(row), "gt_label": 2} for row in rows])
    assert metric.evaluate(4) == {"top1": 25.0, "top2": 50.0}


def test_subsets_are_balanced_nested_and_from_the_seed():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 30))
    small, large = balanced_subset(labels, 24, seed=1), balanced_subset(labels, 100, seed=1)
    assert sorted(np.bincount(labels[small])) == [3, 3, 3, 3, 4, 4, 4] and set(small) < set(large)
    assert (np.diff(small) > 0).all() and np.array_equal(small, balanced_subset(labels, 24, seed=1))
    assert not np.array_equal(small, balanced_subset(labels, 24, seed=2))
    rare = np.array([0] * 20 + [1] * 2)
    assert np.bincount(rare[balanced_subset(rare, 12, seed=0)]).tolist() == [10, 2]


@pytest.fixture
def folder(tmp_path):
    """Three classes of 4, 5 and 6 pictures of 12 x 10, each of one colour that says class and number."""
    for number, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4 + number):
            Image.new("RGB", (12, 10), (number, i, 7)).save(tmp_path / "train" / name / f"{i}.png")
    return tmp_path / "train"


def build(**config):
    return DATASETS.build(dict(type="mimtransfer.ClassFolder") | config)


def test_class_folder(folder):
    resize = dict(type="Resize", size=8, interpolation="nearest")
    data = build(root=str(folder), transform=[resize, dict(type="CenterCrop", size=8)])
    assert len(data) == 15 and data.metainfo == {"classes": ("ant", "bee", "cat")}
    item = data[5]
    assert item["label"] == 1 and item["inputs"].dtype == torch.uint8 and item["inputs"].shape == (3, 8, 8)
    assert item["inputs"][:, 0, 0].tolist() == [1, 1, 7]
    few = build(root=str(folder), images_per_class=2, seed=3)
    assert [few[i]["label"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [build(root=str(folder), num_images=7)[i]["label"] for i in range(7)].count(1) in (2, 3)


@pytest.mark.parametrize(("config", "message"), [
    (dict(root="trian"), "'trian' does not exist; did you mean 'train'"),
    (dict(root="train/ant"), "no class folder in 'train/ant'; expected one folder"),
    (dict(root="train", num_images=16), "subset of 16 images, expected 1 to 15"),
    (dict(root="train", images_per_class=5), "images_per_class=5, num_images=None, expected one of them, and no more "
                                              "than the 4 images"),
    (dict(root="train", images_per_class=2, num_images=4), "expected one of them"),
    (dict(root="train", transform=[dict(type="CentreCrop", size=8)]), "did you mean 'CenterCrop'"),
])
def test_class_folder_refuses(config, message, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError, match=message):
        build(**config)


def test_class_folder_names_what_is_empty_or_broken(folder):
    (folder / "bee/0.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"bee/0\.png' cannot be read"):
        build(root=str(folder))[4]
    (folder / "dog").mkdir()
    with pytest.raises(UserError, match="no image in the class folder 'dog'"):
        build(root=str(folder))


def test_cifar_binaries(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no whole 'cifar-10-batches-py'"):
        build(type="mimtransfer.TorchvisionCIFAR", root=str(tmp_path))
    with pytest.raises(UserError, match="got num_classes=1000"):
        build(type="mimtransfer.TorchvisionCIFAR", root=str(tmp_path), num_classes=1000)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    files = {"test_batch": {"data": pixels, "labels": [1, 0, 0, 1]}, "batches.meta": {"label_names": ["a", "b"]}}
    source = torchvision.datasets.CIFAR10
    (tmp_path / source.base_folder).mkdir()
    sums = {}
    for name, content in files.items():
        (tmp_path / source.base_folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5(pickle.dumps(content)).hexdigest()
    monkeypatch.setattr(source, "train_list", [])
    monkeypatch.setattr(source, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(source, "meta", dict(source.meta, md5=sums["batches.meta"]))
    data = build(type="mimtransfer.TorchvisionCIFAR", root=str(tmp_path), train=False)
    assert data.metainfo["classes"] == ("a", "b") and [data[i]["label"] for i in range(4)] == [1, 0, 0, 1]
    assert torch.equal(data[2]["inputs"], torch.from_numpy(pixels[2]).view(3, 32, 32))


def features(pooling, **backbone):
    backbone = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
                    model_kwargs=dict(embed_dim=24, depth=2, num_heads=2)) | backbone
    torch.manual_seed(0)
    return MODELS.build(dict(type="mimtransfer.FrozenFeatures", backbone=backbone, pooling=pooling)).eval()


def test_features_are_the_pooled_tokens_after_the_final_norm():
    mean, token = features("mean"), features("class")
    images = torch.randn(2, 3, 32, 32)
    tokens = mean.backbone.encode(mean.backbone.add_position(mean.backbone.embed(images), (4, 4)))  # [B, 1 + L, D]
    torch.testing.assert_close(mean(images), tokens[:, 1:].mean(1))
    torch.testing.assert_close(token(images), tokens[:, 0])
    assert mean(images).shape == (2, 24)


def test_features_of_many_batches_of_workers_need_few_open_files():
    images = [dict(inputs=torch.full((1,), float(i)), label=i % 3) for i in range(60)]
    opened = []

    def describe(batch):
        opened.append(len(os.listdir("/proc/self/fd")))
        return batch["inputs"] + 1, batch["label"]

    got, labels = read_features(DataLoader(images, 2, num_workers=1), describe)
    assert got[:, 0].tolist() == [i + 1 for i in range(60)] and labels.tolist() == [i % 3 for i in range(60)]
    assert opened[-1] - opened[0] < 10


def test_features_of_processes_lie_as_those_of_one(monkeypatch):
    """Of 5 images in turns: what is held out, and the order of a probe, are by the place in the memory."""
    parts = [(torch.arange(5.0)[rank::2, None], torch.arange(5)[rank::2] + 10) for rank in (0, 1)]
    monkeypatch.setattr(probing_features, "get_world_size", lambda: 2)
    monkeypatch.setattr(probing_features, "all_gather_object", lambda part: parts)
    got, labels = read_features([0, 1], lambda number: parts[number])
    assert got[:, 0].tolist() == list(range(5)) and labels.tolist() == list(range(10, 15))


@pytest.mark.parametrize("rank", [0, 2])
def test_a_process_may_have_no_image(monkeypatch, rank):
    """Of three, and two images."""
    parts = [(torch.tensor([[float(place)]]), torch.tensor([place + 10])) for place in (0, 1)]
    given = []
    monkeypatch.setattr(probing_features, "get_world_size", lambda: 3)
    monkeypatch.setattr(probing_features, "all_gather_object", lambda part: given.append(part) or [*parts, None])
    got, labels = read_features([0][rank:], lambda number: parts[number])
    assert got.tolist() == [[0.0], [1.0]] and labels.tolist() == [10, 11] and (given == [None]) == (rank == 2)


def test_classes_in_another_order_are_refused():
    check_classes(["cat", "dog"], ("cat", "dog"), "Loop")
    with pytest.raises(UserError, match=r"Loop: .* the memory 2, expected the same; their order differs"):
        check_classes(["dog", "cat"], ("cat", "dog"), "Loop")


def test_features_refuse_a_pooling_that_there_is_not():
    with pytest.raises(UserError, match="expected 'mean' or 'class'"):
        features("max")
    with pytest.raises(UserError, match="no class token"):
        features("class", model_kwargs=dict(embed_dim=24, depth=1, num_heads=2, class_token=False))


@pytest.mark.parametrize("model", [dict(type="FrozenFeatures"), dict(type="FrozenMaps"),
                                   dict(type="Classifier", num_classes=3, freeze_backbone=True)])
def test_relative_positions_that_a_frozen_backbone_lacks_are_refused(model, tmp_path):
    """Another model would be scored, and nothing learns without them; fine-tuning may begin so."""
    vit = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=16, patch_size=8,
               model_kwargs=dict(embed_dim=24, depth=1, num_heads=3))
    torch.save(MODELS.build(vit | dict(rel_pos="bias")).state_dict(), tmp_path / "bias.pth")
    vit["init_cfg"] = dict(type="Pretrained", checkpoint=str(tmp_path / "bias.pth"))
    with pytest.raises(UserError, match="attends by relative positions"):
        MODELS.build(dict(model, backbone=vit)).init_weights()
    MODELS.build(dict(type="Classifier", num_classes=3, backbone=vit)).init_weights()
