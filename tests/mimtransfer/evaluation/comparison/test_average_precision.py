"""AP of multisets of images against pycocotools on a json that has the copies."""
import copy

import numpy as np
import pytest
from detections import CATEGORIES, copied, evaluated, made_coco, made_detections
from hypothesis import given, settings
from hypothesis import strategies as st

from mimtransfer.evaluation.comparison.average_precision import evaluate, resampled_ap, scores_of
from mimtransfer.evaluation.comparison.bootstrap import draw_counts

NAMES = ["box_ap", "box_ap50", "box_ap75", "box_ap_small", "box_ap_medium", "box_ap_large"]
LABELS = [f"class {i}" for i in CATEGORIES]


def own(coco, detections, kind="bbox"):
    return evaluate(copy.deepcopy(coco), copy.deepcopy(detections), kind, list(CATEGORIES))


def by_brute_force(coco, detections, counts, kind="bbox"):
    """Return [A, T, K] of pycocotools on the copies, and its stats."""
    run = evaluated(*copied(coco, detections, counts), kind)
    precision = run.eval["precision"][..., -1]  # [T, R, K, A]
    ap = np.where(precision > -1, precision, np.nan).mean(axis=1)
    return ap.transpose(2, 0, 1), run.stats


@pytest.mark.parametrize(("kind", "digits"), [("bbox", 6), ("bbox", 1), ("segm", 6)])
def test_100_images_resampled_equal_brute_force(kind, digits):
    coco = made_coco(0, 100)
    detections = made_detections(coco, 1, 0.06, digits)
    counts = draw_counts(100, 3, 3)
    run = own(coco, detections, kind)
    ap = resampled_ap(run, counts)
    scores = scores_of(run, counts, "box_ap", LABELS)
    for b in range(counts.shape[1]):
        expected, stats = by_brute_force(coco, detections, counts[:, b], kind)
        np.testing.assert_allclose(ap[..., b], expected, rtol=0, atol=1e-13)
        samples = [score.samples[b] / 100 for score in scores.metrics.values()]
        np.testing.assert_allclose(samples, stats[:6], rtol=0, atol=1e-13)
        of_classes = [score.samples[b] / 100 for score in scores.classes["box_ap"].values()]
        np.testing.assert_allclose(of_classes, expected[0].mean(0), rtol=0, atol=1e-13)
    assert 0.1 < scores.metrics["box_ap"].value / 100 < 0.8


def test_values_are_those_of_pycocotools_exactly():
    coco = made_coco(0, 40)
    detections = made_detections(coco, 1, 0.06)
    counts = np.ones((40, 1), dtype=np.int32)
    scores = scores_of(own(coco, detections), counts, "box_ap", LABELS)
    reference = evaluated(coco, detections, "bbox")
    assert list(scores.metrics) == NAMES
    assert [score.value for score in scores.metrics.values()] == [100 * value for value in reference.stats[:6]]
    precision = reference.eval["precision"][:, :, :, 0, -1]
    assert [score.value for score in scores.classes["box_ap"].values()] == [
        100 * precision[:, :, k].mean() for k in range(3)]  # fmt: skip
    for score in [*scores.metrics.values(), *scores.classes["box_ap"].values()]:
        assert score.samples == pytest.approx(score.value, abs=1e-11)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=5, max_size=5), st.sampled_from([0, 1, 6]))
def test_any_multiset_of_few_images_equals_brute_force(seed, often, digits):
    """Scores of 0 or 1 digit: detections of one image, of one class and score, some right and some wrong."""
    coco = made_coco(seed, 5)
    detections = made_detections(coco, seed + 1, 0.05, digits)
    counts = np.array(often, dtype=np.int32)[:, None]
    if not detections or not sum(often):
        return
    expanded = copied(coco, detections, often)
    ap = resampled_ap(own(coco, detections), counts)[..., 0]
    if not expanded[1]:  # pycocotools' loadRes needs one
        assert np.nan_to_num(ap).max() == 0
        return
    np.testing.assert_allclose(ap, by_brute_force(coco, detections, often)[0], rtol=0, atol=1e-13)


def test_a_class_that_a_multiset_lacks_does_not_count():
    coco = made_coco(0, 30)
    rare = {one["image_id"] for one in coco["annotations"] if one["category_id"] == 7}
    assert 0 < len(rare) < 10
    counts = np.array([[image["id"] not in rare] for image in coco["images"]], dtype=np.int32)
    detections = made_detections(coco, 1, 0.05)
    scores = scores_of(own(coco, detections), counts, "box_ap", LABELS)
    assert np.isnan(scores.classes["box_ap"]["class 7"].samples[0]) and scores.classes["box_ap"]["class 7"].value >= 0
    others = [scores.classes["box_ap"][name].samples[0] for name in LABELS[:2]]
    assert scores.metrics["box_ap"].samples[0] == pytest.approx(np.mean(others), abs=1e-12)


def test_no_detection_scores_0_and_no_object_nothing():
    coco = made_coco(0, 4)
    counts = draw_counts(4, 3, 0)
    scores = scores_of(own(coco, []), counts, "box_ap", LABELS)
    assert scores.metrics["box_ap"].value == 0 and (np.nan_to_num(scores.metrics["box_ap"].samples) == 0).all()
    coco["annotations"] = []
    scores = scores_of(own(coco, made_detections(made_coco(0, 4), 1, 0.05)), counts, "box_ap", LABELS)
    assert np.isnan(scores.metrics["box_ap"].value) and np.isnan(scores.metrics["box_ap"].samples).all()


def test_long_curves_are_summed_in_parts(monkeypatch):
    from mimtransfer.evaluation.comparison import average_precision

    coco = made_coco(2, 20)
    run, counts = own(coco, made_detections(coco, 3, 0.05)), draw_counts(20, 17, 1)
    whole = resampled_ap(run, counts)
    monkeypatch.setattr(average_precision, "_ELEMENTS", 64)
    np.testing.assert_allclose(resampled_ap(run, counts), whole, rtol=0, atol=1e-15)
