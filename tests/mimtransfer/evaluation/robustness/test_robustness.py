"""Mean corruption error, attacks, and accuracy among some of the classes, against plain references."""
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mimtransfer.datasets.class_names import class_names
from mimtransfer.datasets.classification import ClassFolder
from mimtransfer.errors import UserError
from mimtransfer.evaluation.accuracy import TopAccuracy
from mimtransfer.evaluation.robustness.attacks import attack
from mimtransfer.evaluation.robustness.common_corruptions import NAMES
from mimtransfer.evaluation.robustness.corruption_loop import ALEXNET, baseline_errors, corruption_metrics
from mimtransfer.registry import MODELS

SEVERITIES = (1, 2, 3, 4, 5)


def test_alexnet_has_an_mce_of_100():
    errors = {(name, severity): ALEXNET[name] + 2 * (severity - 3) for name in NAMES for severity in SEVERITIES}
    found = corruption_metrics(errors, ALEXNET["clean"], baseline_errors("alexnet", NAMES, SEVERITIES))
    assert found["mce"] == pytest.approx(100) and found["relative_mce"] == pytest.approx(100)
    assert found["corruption_error"] == pytest.approx(np.mean([ALEXNET[name] for name in NAMES]))
    assert found["clean_top1"] == pytest.approx(56.5)
    assert found["error/fog"] == pytest.approx(81.9324) and found["error/fog/5"] == pytest.approx(85.9324)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_mean_corruption_error(seed):
    """Ratios of the sums over severities, as section 4.1 of the paper defines it, in float64."""
    generator = np.random.default_rng(seed)
    ours, theirs = generator.uniform(30, 90, (2, 15, 5))
    clean, their_clean = 20.0, 25.0
    keys = [(name, severity) for name in NAMES for severity in SEVERITIES]
    baseline = dict(zip(NAMES, theirs.mean(1))) | {"clean": their_clean}
    found = corruption_metrics(dict(zip(keys, ours.ravel())), clean, baseline)
    assert found["mce"] == pytest.approx(100 * (ours.sum(1) / theirs.sum(1)).mean())
    relative = (ours - clean).sum(1) / (theirs - their_clean).sum(1)
    assert found["relative_mce"] == pytest.approx(100 * relative.mean())
    assert found["corruption_error"] == pytest.approx(ours.mean())
    without = corruption_metrics(dict(zip(keys, ours.ravel())), clean, None)
    assert without == {key: value for key, value in found.items() if "mce" not in key}


def test_baselines():
    assert baseline_errors(None, NAMES, SEVERITIES) is None
    assert baseline_errors(dict(fog=50, snow=40.0, clean=20), ["fog"], [1]) == {"fog": 50.0, "clean": 20.0}
    for baseline, severities, message in (
        ("alexnet", [1, 2], "means over severities 1 to 5"),
        (dict(fog=50.0), SEVERITIES, "no error above 0 for snow, clean"),
        (dict(fog=50.0, snow=0.0, clean=1.0), SEVERITIES, "no error above 0 for snow"),
    ):
        with pytest.raises(UserError, match=message):
            baseline_errors(baseline, ["fog", "snow"], severities)


def linear_attack(epsilon, steps, step_size, start=None):
    """A linear classifier of images [6, 3, 4, 4], and what an attack makes of them."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(48, 5, generator=generator)
    images = torch.randint(0, 256, (6, 3, 4, 4), generator=generator, dtype=torch.uint8)
    images[0] = 0
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    found = attack(lambda x: x.flatten(1) / 255 @ weights, images, labels, epsilon, steps, step_size, start)
    return weights.double(), images.double(), labels, found


def test_fgsm_is_one_step_along_the_sign_of_the_gradient():
    weights, images, labels, found = linear_attack(8.0, 1, 8.0)
    logits = images.flatten(1) / 255 @ weights
    slope = (logits.softmax(1) - F.one_hot(labels, 5)) @ weights.T  # of the cross-entropy, up to a factor
    np.testing.assert_array_equal(found, (images + 8 * slope.sign().view_as(images)).clamp(0, 255))


def test_pgd_stays_in_the_ball_and_climbs():
    start = torch.full((6, 3, 4, 4), -3.0)
    weights, images, labels, found = linear_attack(4.0, 7, 1.0, start)
    expected = (images - 3).clamp_min(0)
    for _ in range(7):
        slope = ((expected.flatten(1) / 255 @ weights).softmax(1) - F.one_hot(labels, 5)) @ weights.T
        expected = (expected + slope.sign().view_as(images)).clamp(images - 4, images + 4).clamp(0, 255)
    np.testing.assert_array_equal(found, expected)
    assert (found - images).abs().max() == 4 and found.min() == 0

    def loss(x):
        return F.cross_entropy(x.double().flatten(1) / 255 @ weights, labels, reduction="none")

    assert (loss(found) > loss(images)).all() and (loss(found) > loss(linear_attack(4.0, 1, 1.0)[3])).all()


def test_an_attack_goes_through_a_frozen_backbone():
    backbone = dict(type="mimtransfer.TimmViT", arch="vit_tiny_patch16_224", img_size=16, patch_size=8,
                    model_kwargs=dict(embed_dim=24, depth=1, num_heads=2))
    model = MODELS.build(dict(type="mimtransfer.Classifier", backbone=backbone, num_classes=3, head_std=0.5,
                              norm="batch", freeze_backbone=True)).eval()
    images, labels = torch.rand(4, 3, 16, 16) * 255, torch.tensor([0, 1, 2, 0])
    found = attack(lambda x: model(x / 255), images, labels, 1.0, 1, 1.0)
    assert ((found - images).abs() > 0.5).float().mean() > 0.9
    assert all(p.grad is None for p in model.parameters())
    model.loss(images, labels)["loss"].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}


def test_accuracy_among_some_of_the_classes():
    scores = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    tested = (1, 4, 5, 9, 7, 2)
    labels = [tested[i % 6] for i in range(50)]
    metric = TopAccuracy(topk=(1, 5))
    metric.dataset_meta = dict(classes=tuple(range(10)), tested_classes=tested)
    metric.process({}, [dict(pred_score=score, gt_label=label) for score, label in zip(scores, labels)])
    order = scores[:, sorted(tested)].double().argsort(1, descending=True).numpy()
    best = np.array(sorted(tested))[order]
    expected = {f"top{k}": 100 * np.mean([label in row[:k] for row, label in zip(best, labels)]) for k in (1, 5)}
    assert metric.compute_metrics(metric.results) == pytest.approx(expected)


def test_folders_with_some_of_the_trained_classes(tmp_path):
    for name in ("b", "d"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), "red" if name == "b" else "blue").save(tmp_path / name / "0.png")
    data = ClassFolder(str(tmp_path), trained_classes=["d", "a", "b", "c"], tested_classes=["b", "d"])
    assert [data[i]["label"] for i in range(2)] == [1, 3]
    assert data.metainfo == dict(classes=("a", "b", "c", "d"), tested_classes=(1, 3))
    with pytest.raises(UserError, match="has the class 'd', which is not one of the 3 trained"):
        ClassFolder(str(tmp_path), trained_classes=["a", "b", "c"])
    with pytest.raises(UserError, match="2 class folders, expected 200; 202 are in one"):
        ClassFolder(str(tmp_path), trained_classes="imagenet-1k", tested_classes="imagenet-a")
    with pytest.raises(UserError, match="expected their names or one of imagenet-1k, imagenet-a"):
        ClassFolder(str(tmp_path), trained_classes="imagenet-v2")


def test_classes_of_imagenet_and_its_variants():
    every, natural, renditions = (class_names(f"imagenet-{name}") for name in ("1k", "a", "r"))
    assert (len(every), len(natural), len(renditions)) == (1000, 200, 200)
    assert set(natural) | set(renditions) < set(every) and every[0] == "n01440764" and every == sorted(every)
    # the first numbers of each, as the authors of the data list them
    numbers = [[every.index(name) for name in names[:8]] for names in (natural, renditions)]
    assert numbers == [[6, 11, 13, 15, 17, 22, 23, 27], [1, 2, 4, 6, 8, 9, 11, 13]]


def test_a_record_as_baseline(tmp_path, monkeypatch):
    raw = {"clean_top1": 70.0, "error/fog/1": 40.0, "error/fog/3": 60.0}
    loop = "mimtransfer.evaluation.robustness.corruption_loop"
    monkeypatch.setattr(f"{loop}.read_record", lambda path: {"raw_metrics": raw})
    assert baseline_errors("result.json", ["fog"], (1, 3)) == {"fog": 50.0, "clean": 30.0}
    with pytest.raises(UserError, match="no error above 0 for fog at severities"):
        baseline_errors("result.json", ["fog"], (1, 2))
    assert json.dumps(baseline_errors("result.json", ["fog"], (3,))) == '{"fog": 60.0, "clean": 30.0}'
