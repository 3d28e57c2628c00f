"""Composition of a scene: surfaces, objects, what hides what, and the exact masks that follow.

All randomness of a scene comes from (seed, split, index): it is the same whatever else is drawn, in whichever process.
"""
import dataclasses
import math

import numpy as np
from numpy.random import Generator

from mimtransfer.datasets.scenes.objects import Originals, draw_outline, segment_distance
from mimtransfer.datasets.scenes.style import SPLITS, SceneStyle
from mimtransfer.datasets.scenes.textures import value_noise
from mimtransfer.errors import UserError

_MARGIN = 0.04  # of the shorter side, around an object: as far as its shadow reaches
_TRIES = 6


@dataclasses.dataclass(frozen=True)
class Patch:
    """Something drawn over a window of the image.

    window: rows and columns of the image.
    level: [h, w] float32, signed distance to the border in pixels, positive inside.
    local: u v, each [h, w] float32, coordinates that move with the object, in units of the shorter image side.
    """

    window: tuple[slice, slice]
    level: np.ndarray
    local: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Instance:
    """An object that is seen well enough to be annotated.

    category: 1-based position in `style.things`.
    visible: [H, W] bool.
    """

    category: int
    visible: np.ndarray
    patch: Patch


@dataclasses.dataclass(frozen=True)
class Composition:
    """Who is where in a scene.

    x, y: [H, W] float32, coordinates in units of the shorter side.
    surfaces: per surface, its 0-based position in `style.stuff` and its soft cover [H, W] float32 in 0..1; each lies on
        those before it.
    clutter: behind all objects, first one lowest.
    instances: front object first.
    occluders: before all objects.
    index_map: [H, W] uint8; 0 occluder, then `style.classes` from 1.
    """

    x: np.ndarray
    y: np.ndarray
    surfaces: list[tuple[int, np.ndarray]]
    clutter: list[Patch]
    instances: list[Instance]
    occluders: list[Patch]
    index_map: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Placed:
    """An object on its way to an Instance: `mask` is what the objects before it leave of `area` pixels in the image."""

    category: int
    patch: Patch
    mask: np.ndarray
    area: int


def scene_rng(seed: int, split: str, index: int, stage: int) -> Generator:
    """Return the generator of one stage of one scene (0 composition, 1 paint)."""
    return np.random.default_rng([seed, SPLITS.index(split), index, stage])


def min_visible_pixels(style: SceneStyle, side: int) -> float:
    """Return the fewest pixels an annotated object shows, in an image of this shorter side."""
    return max(style.min_visible_area * side**2, 1)


def compose(
    size: tuple[int, int], seed: int, split: str, index: int, style: SceneStyle, originals: Originals
) -> Composition:
    """Lay out one scene. Validation scenes use validation originals; all others use training originals.

    Args:
        size: height and width in pixels.
    """
    rng = scene_rng(seed, split, index, 0)
    height, width = size
    side = min(size)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (x + 0.5) / side, (y + 0.5) / side
    surfaces = _surfaces(x, y, side, style, rng)
    clutter = [_clutter(x, y, side, rng) for _ in range(rng.integers(style.num_clutter[0], style.num_clutter[1] + 1))]
    inks = originals["val" if split == "val" else "train"]
    # the front object's class goes round the list, so that even a tiny set holds every class
    first = index % len(style.things)
    placed = _objects(x, y, side, style, inks, first, rng)
    occluders, occluded = _occluders(x, y, side, style, placed, rng)

    index_map = np.zeros(size, np.uint8)
    for kind, cover in surfaces:
        index_map[cover >= 0.5] = 1 + len(style.things) + kind
    instances = []
    for one in placed:
        visible = one.mask & ~occluded
        index_map[visible] = one.category
        instances.append(Instance(one.category, visible, one.patch))
    index_map[occluded] = 0
    return Composition(x, y, surfaces, clutter, instances, occluders, index_map)


def _surfaces(
    x: np.ndarray, y: np.ndarray, side: int, style: SceneStyle, rng: Generator
) -> list[tuple[int, np.ndarray]]:
    """Split the image by wavy lines into surfaces of different classes."""
    count = min(rng.integers(style.num_regions[0], style.num_regions[1] + 1), len(style.stuff))
    kinds = rng.permutation(len(style.stuff))[:count]
    surfaces = [(int(kinds[0]), np.ones(x.shape, np.float32))]
    for kind in kinds[1:]:
        angle = rng.uniform(0, 2 * math.pi)
        centre = x.max() * rng.uniform(0.25, 0.75), y.max() * rng.uniform(0.25, 0.75)
        across = math.cos(angle) * (x - centre[0]) + math.sin(angle) * (y - centre[1])
        wave = rng.uniform(0, 0.35) * (value_noise(x * 3, y * 3, rng) - 0.5)
        surfaces.append((int(kind), np.clip((across + wave) * side + 0.5, 0, 1)))
    return surfaces


def _clutter(x: np.ndarray, y: np.ndarray, side: int, rng: Generator) -> Patch:
    """Scribble, bar or stain: things that are no class, some as wide as a pen stroke."""
    centre = rng.uniform(0, 1, 2) * (x.max(), y.max())
    kind = rng.integers(3)
    if kind == 0:  # scribble: a walk with soft turns
        turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.7, 6))
        steps = rng.uniform(0.03, 0.09) * np.stack([np.cos(turns), np.sin(turns)], 1)
        return _stroke(x, y, side, centre + np.cumsum(steps, 0), rng.uniform(0.008, 0.022))
    if kind == 1:  # bar
        angle, length = rng.uniform(0, np.pi), rng.uniform(0.1, 0.45)
        reach = length * np.array([np.cos(angle), np.sin(angle)])
        return _stroke(x, y, side, np.stack([centre - reach, centre + reach]), rng.uniform(0.006, 0.02))
    # stain: a ragged blob
    radius = rng.uniform(0.06, 0.14)
    window, u, v = _window(x, y, side, centre, 1.6 * radius)
    ragged = radius * (0.1 + 1.5 * value_noise(u * 16 + 16, v * 16 + 16, rng))
    return Patch(window, (ragged - np.sqrt(u * u + v * v)) * side, (u, v))


def _stroke(x: np.ndarray, y: np.ndarray, side: int, points: np.ndarray, radius: float) -> Patch:
    """Return a polyline of round pen."""
    centre = (points.min(0) + points.max(0)) / 2
    window, u, v = _window(x, y, side, centre, np.ptp(points, 0) / 2 + radius)
    radius = max(radius * side, 0.6)  # pixels; a thinner line would vanish
    return Patch(window, radius - side * segment_distance(u, v, points - centre), (u, v))


def _window(
    x: np.ndarray, y: np.ndarray, side: int, centre: np.ndarray, reach: float | np.ndarray
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Return the window within `reach` (a number, or x and y) of the centre, and coordinates from the centre inside it.

    The window is clipped to the image and may be empty.
    """
    low = np.floor((centre - reach - _MARGIN) * side).astype(int)
    high = np.ceil((centre + reach + _MARGIN) * side).astype(int)
    rows, cols = (slice(*np.clip((low[axis], high[axis]), 0, x.shape[1 - axis]).tolist()) for axis in (1, 0))
    return (rows, cols), x[rows, cols] - np.float32(centre[0]), y[rows, cols] - np.float32(centre[1])


def _objects(
    x: np.ndarray, y: np.ndarray, side: int, style: SceneStyle, inks: dict[str, np.ndarray], first: int, rng: Generator
) -> list[_Placed]:
    """Place objects from front to back, each behind those before it.

    An object that would be hidden too much, or cut too much by the image border, tries other places, then is left out.
    """
    least = min_visible_pixels(style, side)
    taken = np.zeros(x.shape, bool)
    placed: list[_Placed] = []
    for rank in range(rng.integers(style.num_objects[0], style.num_objects[1] + 1)):
        category = first if rank == 0 else int(rng.integers(len(style.things)))
        name = style.things[category]
        outline = draw_outline(name, inks, rng)
        matrix, reach, scale = _pose(name in inks, style, rng)
        for _ in range(_TRIES):
            inner = 0.8 * reach  # up to a fifth of the half extent may leave the image
            centre = np.array([rng.uniform(low, max(low, end - low)) for low, end in zip(inner, (x.max(), y.max()))])
            window, du, dv = _window(x, y, side, centre, reach)
            (uu, uv), (vu, vv) = matrix
            u, v = uu * du + uv * dv, vu * du + vv * dv
            level = outline(u, v) * (scale * side)
            mask = np.zeros(x.shape, bool)
            mask[window] = level >= 0
            area = int(mask.sum())
            mask &= ~taken
            left = int(mask.sum())
            if left >= max((1 - style.max_overlap) * area, least):
                # local coordinates in units of the side: fills keep their grain on large and small objects
                placed.append(_Placed(category + 1, Patch(window, level, (u * scale, v * scale)), mask, area))
                taken |= mask
                break
    if not placed:
        name = style.things[first]
        raise UserError(f"scene style: {name!r} is too small to annotate; raise object_size or lower min_visible_area")
    return placed


def _pose(is_digit: bool, style: SceneStyle, rng: Generator) -> tuple[list[list[float]], np.ndarray, float]:
    """Return image-to-local matrix, half extents x y in units of the side, and mean half size."""
    half = rng.uniform(*style.object_size) / 2
    stretch = style.aspect ** rng.uniform(-0.5, 0.5)
    limit = np.deg2rad(style.digit_rotation if is_digit else style.shape_rotation)
    angle, shear = rng.uniform(-limit, limit), rng.uniform(-style.shear, style.shear)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag([half * stretch, half / stretch])
    return np.linalg.inv(forward).tolist(), np.abs(forward).sum(1) * 1.05, half


def _occluders(
    x: np.ndarray, y: np.ndarray, side: int, style: SceneStyle, placed: list[_Placed], rng: Generator
) -> tuple[list[Patch], np.ndarray]:
    """Put twigs before the objects; one that would hide an object too much is left out."""
    least = min_visible_pixels(style, side)
    kept, occluded = [], np.zeros(x.shape, bool)
    for _ in range(rng.integers(style.num_occluders[0], style.num_occluders[1] + 1)):
        centre = rng.uniform(0.1, 0.9, 2) * (x.max(), y.max())
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 5))
        steps = rng.uniform(0.08, 0.18) * np.stack([np.cos(angle), np.sin(angle)], 1)
        patch = _stroke(x, y, side, centre + np.cumsum(steps, 0) - steps.sum(0) / 2, rng.uniform(0.012, 0.025))
        tried = occluded.copy()
        tried[patch.window] |= patch.level >= 0
        if all((p.mask & ~tried).sum() >= max(style.min_visible_fraction * p.area, least) for p in placed):
            kept.append(patch)
            occluded = tried
    return kept, occluded
