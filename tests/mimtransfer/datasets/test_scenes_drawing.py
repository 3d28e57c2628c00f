"""Outlines and textures of the embedded data set against exact values."""
import math

import numpy as np
import pytest

from mimtransfer.datasets.scenes import objects as scenes_objects
from mimtransfer.datasets.scenes import textures as scenes_textures
from mimtransfer.datasets.scenes.style import DIGITS


def area(outline) -> float:
    """Area of an outline by counting a fine grid."""
    axis = (np.arange(800, dtype=np.float32) + 0.5) / 400 - 1
    u, v = np.meshgrid(axis, axis)
    return float((outline(u, v) >= 0).mean() * 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_areas_of_shapes(seed):
    def draw(name):
        return area(scenes_objects.draw_outline(name, {}, np.random.default_rng(seed)))

    same = np.random.default_rng(seed)
    assert draw("disc") == pytest.approx(math.pi * 0.95**2, rel=2e-3)
    assert draw("triangle") == pytest.approx(0.5 * 1.9 * 1.75, rel=2e-3)
    corner = same.uniform(0, 0.2)
    assert draw("square") == pytest.approx(1.64**2 - (4 - math.pi) * corner**2, rel=2e-3)
    width = np.random.default_rng(seed).uniform(0.14, 0.22)
    assert draw("ring") == pytest.approx(math.pi * (0.95**2 - (0.95 - 2 * width) ** 2), rel=3e-3)
    width = np.random.default_rng(seed).uniform(0.24, 0.36)
    assert draw("cross") == pytest.approx(2 * 1.9 * 2 * width - (2 * width) ** 2, rel=3e-3)
    same = np.random.default_rng(seed)
    tips, inner = int(same.integers(5, 7)), same.uniform(0.40, 0.52)
    assert draw("star") == pytest.approx(tips * inner * math.sin(math.pi / tips), rel=3e-3)


def test_a_digit_keeps_the_shape_of_its_original():
    """Sampled back to 8x8, the outline of a digit is where its ink is."""
    originals = scenes_objects.load_originals()
    centres = ((np.arange(8, dtype=np.float32) + 0.5) / 4) - 1
    u, v = np.meshgrid(centres, centres)
    for name in DIGITS:
        ink = originals["train"][name][5]
        level = scenes_objects.digit(ink, np.random.default_rng(0))(u, v)
        assert (level[ink > 0.75] > 0).all() and (level[ink < 0.2] < 0).all()


def test_segment_distance_of_a_polyline():
    points = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    x = np.array([-3.0, 1.5, 6.0, 3.0, 0.0], np.float32)
    y = np.array([-4.0, -2.0, 4.0, 9.0, 4.0], np.float32)
    distance = scenes_objects.segment_distance(x, y, points)
    np.testing.assert_allclose(distance, [5, 2, 3, 5, 3], rtol=1e-6)
    assert distance.dtype == np.float32


def test_value_noise_is_its_table_at_whole_coordinates():
    table = np.random.default_rng(7).random((32, 32), dtype=np.float32)
    x, y = np.meshgrid(np.arange(-3, 40, dtype=np.float32), np.arange(-3, 40, dtype=np.float32))
    noise = scenes_textures.value_noise(x, y, np.random.default_rng(7))
    np.testing.assert_array_equal(noise, table[y.astype(int) % 32, x.astype(int) % 32])
    between = scenes_textures.value_noise(x + 0.5, y, np.random.default_rng(7))
    np.testing.assert_allclose(between[:, :-1], (noise[:, :-1] + noise[:, 1:]) / 2, atol=1e-6)


TEXTURES = [*scenes_textures.SURFACES.values(), *scenes_textures.FILLS]


@pytest.mark.parametrize("texture", TEXTURES, ids=lambda texture: texture.__name__)
def test_textures_fill_zero_to_one_in_float32(texture):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64].astype(np.float32) / 64
    shade = texture(*scenes_textures.turned(x - 0.5, y - 0.5, rng), rng)
    assert shade.dtype == np.float32 and shade.shape == (64, 64)
    assert shade.min() > -0.01 and shade.max() < 1.01 and shade.std() > 0.1
