"""RankMe and contrast: known values, float64 by hand, no scale; and what counts as collapsed."""
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mimtransfer.evaluation.probing.spread import Contrast, contrast, rankme

STUDY = Path(__file__).resolve().parents[4] / "docs/results/records/study_feature-contrast.json"


def test_rankme_counts_directions():
    assert rankme(torch.eye(6)) == pytest.approx(6, abs=1e-4)
    assert rankme(torch.ones(5, 7)) == pytest.approx(1, abs=1e-4)
    assert rankme(torch.zeros(5, 7)) == 0
    # Two directions of singular values 3 and 1: shares 3/4 and 1/4.
    two = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    assert rankme(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), abs=1e-4)


def test_rankme_equals_its_formula_at_any_scale():
    features = np.random.RandomState(0).randn(40, 12) @ np.random.RandomState(1).randn(12, 12) + 2
    values = np.linalg.svd(features, compute_uv=False)
    shares = values / np.abs(values).sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert 3 < expected < 11
    for scale in (1e-3, 1.0, 1e3):
        assert rankme(torch.from_numpy(scale * features)) == pytest.approx(expected, rel=1e-6)


def by_hand(maps):
    """Return both contrasts in float64, token by token."""
    n, d, h, w = maps.shape
    tokens = maps.double().numpy().transpose(0, 2, 3, 1).reshape(n, h * w, d)
    square = np.mean([token @ token for image in tokens for token in image])
    over_images = np.mean([((tokens[:, k] - tokens[:, k].mean(0)) ** 2).sum(1).mean() for k in range(h * w)])
    over_patches = np.mean([((image - image.mean(0)) ** 2).sum(1).mean() for image in tokens])
    return over_images / square, over_patches / square


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_contrast_equals_its_formula_at_any_scale(scale):
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(5, 8, 2, 3, generator=draw) + torch.randn(5, 8, 1, 1, generator=draw) + 3
    found = contrast(scale * maps)
    assert found == pytest.approx(by_hand(maps), rel=1e-5) and not found.collapsed
    assert 0 < found.patches < found.images < 1


def test_what_says_nothing_of_images_or_of_patches_is_collapsed():
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 8, 2, 3, generator=draw)
    positions, images = maps[:1].expand(6, -1, -1, -1), maps[:, :, :1, :1].expand(-1, -1, 2, 3)
    constant = maps[:1, :, :1, :1].expand(6, -1, 2, 3)
    assert contrast(positions)[0] == pytest.approx(0, abs=1e-9) and set(contrast(positions).collapsed) == {"images"}
    assert contrast(images)[1] == pytest.approx(0, abs=1e-9) and set(contrast(images).collapsed) == {"patches"}
    assert contrast(constant) == pytest.approx((0, 0), abs=1e-9) and contrast(torch.zeros(4, 3, 2, 2)) == (0, 0)
    assert set(contrast(constant).collapsed) == {"images", "patches"}
    assert not contrast(maps).collapsed
    # A bias that grows: all else is the same, and less and less of the features.
    assert [bool(contrast(maps + bias).collapsed) for bias in (0, 10, 100)] == [False, False, True]
    # The last map of a ResNet on images of 32 pixels has one cell.
    assert contrast(maps[:, :, :1, :1])[1] is None and not contrast(maps[:, :, :1, :1]).collapsed


def test_of_the_encoders_of_the_study_only_mfm_is_collapsed():
    """From their records: variance by squared mean, and the part of it that is the same in all images."""
    found = {}
    for row in json.loads(STUDY.read_text())["rows"]:
        variance = row["contrast"] / (1 + row["contrast"])  # by mean square
        found[row["pretraining"]] = Contrast((1 - row["position_share"]) * variance, variance)
    assert {name for name, spread in found.items() if spread.collapsed} == {"mfm"}
    others = [spread.images for name, spread in found.items() if name != "mfm"]
    assert found["mfm"].images < 1e-3 / 3 and min(others) > 5e-3
