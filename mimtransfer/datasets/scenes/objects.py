"""Objects as functions of coordinates: handwritten digits from scikit-learn and procedural shapes.

An outline takes float32 arrays u v of one shape, local coordinates in which the object fills -1..1, and returns the
approximate distance to its border in the same units, positive inside. The composer turns it into a mask, the painter
into a soft edge and a shadow. Arithmetic stays in float32 (see scenes_textures.py).
"""
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image

from mimtransfer.datasets.scenes.style import DIGITS

_ZOOM = 8  # samples per original pixel
_VAL_FROM = 1347  # of 1797

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]
Originals = dict[str, dict[str, np.ndarray]]


def load_originals() -> Originals:
    """Return the 8x8 digits of scikit-learn as {'train' | 'val': {class name: [n, 8, 8] float32 in 0..1}}.

    The last quarter of the file is for validation, whatever the seed: no original is in both parts. The file runs
    writer by writer, so a cut, rather than a shuffle, also keeps handwritings apart.
    """
    from sklearn.datasets import load_digits  # 1 s, paid by the parent process alone

    data = load_digits()
    images = (data.images / 16).astype(np.float32)
    validates = np.arange(len(images)) >= _VAL_FROM
    return {
        part: {name: images[chosen & (data.target == digit)] for digit, name in enumerate(DIGITS)}
        for part, chosen in (("train", ~validates), ("val", validates))
    }


def digit(original: np.ndarray, rng: Generator) -> Outline:
    """Return the outline of a handwritten digit.

    Args:
        original: [8, 8] float32 in 0..1, the ink.
    """
    padded = np.pad(original, 1)  # ink at the border still gets a rounded edge
    side = padded.shape[0] * _ZOOM
    ink = np.asarray(Image.fromarray(padded, "F").resize((side, side), Image.Resampling.BICUBIC))
    threshold = rng.uniform(0.46, 0.6)  # pen width

    def outline(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        # original pixels are 2 / 8 wide in local coordinates, and ink falls from 1 to 0 over about 1.4 of them
        return (_bilinear(ink, (u + 1.25) / 2.5 * side - 0.5, (v + 1.25) / 2.5 * side - 0.5) - threshold) * (0.25 * 1.4)

    return outline


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side = image.shape[0]
    x, y = np.clip(x, 0, side - 1.001), np.clip(y, 0, side - 1.001)
    left, top = np.floor(x), np.floor(y)
    u, v = x - left, y - top
    col, row = left.astype(np.int32), top.astype(np.int32)
    flat, corner = image.ravel(), row * side + col
    upper = flat.take(corner) * (1 - u) + flat.take(corner + 1) * u
    lower = flat.take(corner + side) * (1 - u) + flat.take(corner + side + 1) * u
    return upper * (1 - v) + lower * v


def disc(rng: Generator) -> Outline:
    return lambda u, v: 0.95 - _radius(u, v)


def square(rng: Generator) -> Outline:
    corner = rng.uniform(0.0, 0.2)
    return lambda u, v: _box(u, v, 0.82, 0.82, corner)


def triangle(rng: Generator) -> Outline:
    apex = rng.uniform(-0.4, 0.4)
    points = [(apex, -0.95), (0.95, 0.8), (-0.95, 0.8)]

    def outline(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        inside = np.full(u.shape, np.inf, np.float32)
        for start, end in pairwise([*points, points[0]]):
            inside = np.minimum(inside, _side(u, v, start, end))
        return inside

    return outline


def star(rng: Generator) -> Outline:
    half = math.pi / int(rng.integers(5, 7))  # half the angle between two tips
    inner = rng.uniform(0.40, 0.52)
    tip, notch = (1.0, 0.0), (inner * math.cos(half), inner * math.sin(half))

    def outline(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        radius, angle = _radius(u, v), np.arctan2(u, -v)
        angle = angle / (2 * half)
        angle = np.abs(angle - np.rint(angle)) * (2 * half)  # fold all tips onto one
        return _side(radius * np.cos(angle), radius * np.sin(angle), tip, notch)

    return outline


def ring(rng: Generator) -> Outline:
    width = rng.uniform(0.14, 0.22)
    return lambda u, v: width - np.abs(_radius(u, v) - (0.95 - width))


def cross(rng: Generator) -> Outline:
    width = rng.uniform(0.24, 0.36)
    return lambda u, v: np.maximum(_box(u, v, 0.95, width, 0.0), _box(u, v, width, 0.95, 0.0))


def _radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(u * u + v * v)  # ten times as fast as np.hypot


def _side(u: np.ndarray, v: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Return the distance to a line, positive on the right hand of one who walks from start to end (v points down)."""
    along, down = end[0] - start[0], end[1] - start[1]
    length = math.hypot(along, down)
    return (along / length) * (v - start[1]) - (down / length) * (u - start[0])


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float, corner: float) -> np.ndarray:
    du, dv = np.abs(u) - (half_width - corner), np.abs(v) - (half_height - corner)
    return corner - _radius(np.maximum(du, 0), np.maximum(dv, 0)) - np.minimum(np.maximum(du, dv), 0)


_SHAPES = {"disc": disc, "square": square, "triangle": triangle, "star": star, "ring": ring, "cross": cross}


def draw_outline(name: str, originals: dict[str, np.ndarray], rng: Generator) -> Outline:
    """Return an outline of the named class: a random original for a digit, random proportions for a shape."""
    if name in _SHAPES:
        return _SHAPES[name](rng)
    return digit(originals[name][rng.integers(len(originals[name]))], rng)


def segment_distance(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the distance of each coordinate to a polyline.

    Args:
        points: [n, 2] float, x y of the corners, n >= 2.
    """
    best = np.full(x.shape, np.inf, np.float32)
    for start, end in pairwise(points.tolist()):
        along, down = end[0] - start[0], end[1] - start[1]
        u, v = x - start[0], y - start[1]
        t = (u * along + v * down) / max(along**2 + down**2, 1e-9)
        t = t.clip(0, 1)
        u, v = u - t * along, v - t * down
        best = np.minimum(best, u * u + v * v)
    return np.sqrt(best)
