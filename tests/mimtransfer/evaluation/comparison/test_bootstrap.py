"""Drawing of multisets, intervals and p; mIoU of multisets against the pixels of the copies."""
import numpy as np
import pytest

from mimtransfer.evaluation.comparison.bootstrap import Score, Scores, draw_counts, interval, p_value
from mimtransfer.evaluation.comparison.mean_iou import Areas, scores_of
from mimtransfer.evaluation.comparison.report import compared, lines


def test_multisets_have_as_many_images_and_each_is_as_probable():
    counts = draw_counts(50, 4000, 0)
    assert counts.shape == (50, 4000) and (counts.sum(0) == 50).all()
    assert counts.mean(1) == pytest.approx(np.ones(50), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)  # binomial
    np.testing.assert_array_equal(counts[:, :10], draw_counts(50, 10, 0))  # more resamples begin with the same
    assert (draw_counts(50, 10, 1) != counts[:, :10]).any()


def test_intervals_are_percentiles_of_what_is_defined():
    samples = np.concatenate([np.arange(101.0), [np.nan] * 5])
    assert interval(samples, 0.9) == pytest.approx((5, 95))
    assert np.isnan(interval(np.full(3, np.nan), 0.9)).all()


@pytest.mark.parametrize(("differences", "p"), [
    ([1.0] * 999, 0.002), ([-1.0] * 999, 0.002), ([1.0] * 50 + [-1.0] * 49, 1.0), ([1.0] * 97 + [-1.0] * 2, 0.06),
    ([0.0] * 99, 1.0), ([1.0] * 19 + [np.nan], 0.1),
])  # fmt: skip
def test_p_is_twice_the_smaller_share(differences, p):
    assert p_value(np.array(differences)) == pytest.approx(p)


def test_p_of_equal_means_is_uniform_enough():
    """Of a mean, where the bootstrap is known to be right: p < 0.1 in about a tenth of the trials."""
    rng, below = np.random.default_rng(0), 0
    for trial in range(300):
        counts = draw_counts(60, 99, trial)
        below += p_value(rng.normal(size=60) @ counts / 60) < 0.1
    assert 0.07 < below / 300 < 0.14


def made_areas(seed, num_images=12, num_classes=4):
    """Return the areas and the pixels (true, guessed) of each image; the last class is nowhere."""
    rng = np.random.default_rng(seed)
    maps = [(rng.integers(num_classes - 1, size=60), rng.integers(num_classes - 1, size=60)) for _ in range(num_images)]
    maps = [(true, np.where(rng.random(60) < 0.6, true, guess)) for true, guess in maps]
    areas = np.array([[np.bincount(part, minlength=num_classes) for part in (true[true == guess], guess, true)]
                      for true, guess in maps])  # fmt: skip
    names = [f"{k}.png" for k in range(num_images)], [f"class {k}" for k in range(num_classes)]
    return Areas(*names, areas[:, 0], areas[:, 1], areas[:, 2]), maps


def test_miou_of_a_multiset_is_that_of_all_its_pixels():
    areas, maps = made_areas(0)
    counts = draw_counts(12, 6, 0)
    scores = scores_of(areas, counts)
    for b in range(-1, 6):
        often = counts[:, b] if b >= 0 else np.ones(12, dtype=int)
        true, guess = (np.concatenate([np.tile(pair[k], n) for pair, n in zip(maps, often)]) for k in (0, 1))
        iou = [((true == k) & (guess == k)).sum() / ((true == k) | (guess == k)).sum() for k in range(3)]
        expected = {"miou": np.mean(iou), "macc": np.mean([(guess[true == k] == k).mean() for k in range(3)]),
                    "aacc": (true == guess).mean()}  # fmt: skip
        for name, score in scores.metrics.items():
            assert (score.samples[b] if b >= 0 else score.value) / 100 == pytest.approx(expected[name], abs=1e-12)
        for k in range(3):
            score = scores.classes["miou"][f"class {k}"]
            assert (score.samples[b] if b >= 0 else score.value) / 100 == pytest.approx(iou[k], abs=1e-12)
    nowhere = scores.classes["miou"]["class 3"]
    assert np.isnan(nowhere.value) and np.isnan(nowhere.samples).all()


def test_differences_are_paired_and_p_of_classes_is_corrected():
    """Both rise and fall with the images; their difference does not."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, 999)
    shift = {"a": 1.0, "b": 0.5}
    first = Scores({"miou": Score(50.0, 50 + noise)}, {"miou": {key: Score(50.0, 50 + noise) for key in shift}})
    second = Scores({"miou": Score(51.0, 51 + noise + rng.normal(0, 0.1, 999))},
                    {"miou": {key: Score(50 + by, 50 + by + noise) for key, by in shift.items()}})  # fmt: skip
    found = compared(first, second, 0.95)
    entry = found["metrics"]["miou"]
    assert entry["first"]["high"] - entry["first"]["low"] > 15
    assert 0.75 < entry["difference"]["low"] < 0.85 < entry["difference"]["value"] == 1.0
    assert entry["difference"]["p"] == pytest.approx(0.002)
    assert found["classes"]["miou"]["b"]["difference"]["p"] == pytest.approx(0.004)  # two classes
    head, line, *below = lines(found, ("A", "B"), True)
    assert head.split() == ["A", "B", "difference"] and line.startswith("mIoU  50.0000 [") and "p = 0.002" in line
    assert [text.split()[0] for text in below] == ["a", "b"]
    (_, alone) = lines(compared(first, None, 0.95), ("A",), False)
    assert "p =" not in alone and alone.startswith("mIoU  50.0000 [")
