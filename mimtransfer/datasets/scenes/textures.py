"""Textures as functions of coordinates: surfaces (stuff classes) and fills of objects.

Every texture takes float32 arrays x y of one shape, in units of the shorter image side, and a generator, and returns a
float32 array of that shape in 0..1, which the painter turns into a blend of two colours. No texture has a colour of its
own: only structure tells them apart. Arithmetic stays in float32: scalars are Python floats, for a NumPy float64 would
widen whole arrays.
"""
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

_LATTICE = 32  # random tables repeat after this many cells; a power of two, so that `& _WRAP` is a fast modulo
_WRAP = _LATTICE - 1


def value_noise(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Return smooth noise with one random value per unit cell.

    Args:
        x, y: coordinates in cells.
    """
    table = rng.random((_LATTICE, _LATTICE), dtype=np.float32)
    left, top = np.floor(x), np.floor(y)
    u, v = x - left, y - top
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    # one flat index per corner: cheaper than two-dimensional fancy indexing
    col, row = left.astype(np.int32) & _WRAP, top.astype(np.int32) & _WRAP
    next_col, row_start, next_start = (col + 1) & _WRAP, row * _LATTICE, ((row + 1) & _WRAP) * _LATTICE
    flat = table.ravel()
    upper = flat.take(row_start + col) * (1 - u) + flat.take(row_start + next_col) * u
    lower = flat.take(next_start + col) * (1 - u) + flat.take(next_start + next_col) * u
    return upper * (1 - v) + lower * v


def fractal_noise(x: np.ndarray, y: np.ndarray, rng: Generator, octaves: int = 3) -> np.ndarray:
    """Return octaves of value noise, each twice as fine and half as strong, stretched to fill 0..1."""
    total: Any = sum(value_noise(x * 2**k, y * 2**k, rng) * 0.5**k for k in range(octaves))
    gain = 2.2 / sum(0.5**k for k in range(octaves))
    return (total * gain + (0.5 - 1.1)).clip(0, 1)


def cell_values(col: np.ndarray, row: np.ndarray, rng: Generator) -> np.ndarray:
    """Return one random value for each integer cell."""
    table = rng.random(_LATTICE * _LATTICE, dtype=np.float32)
    return table.take((row.astype(np.int32) & _WRAP) * _LATTICE + (col.astype(np.int32) & _WRAP))


def bricks(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw a running bond: rows shifted by half a brick, dark joints, each brick with its own tint."""
    y = y * 7
    row = np.floor(y)
    x = x * 3.5 + row * 0.5
    col = np.floor(x)
    joint = np.minimum(np.minimum(x - col, col + 1 - x) * 2, np.minimum(y - row, row + 1 - y))
    body = 0.45 + 0.4 * cell_values(col, row, rng) + 0.25 * (value_noise(x * 8, y * 4, rng) - 0.5)
    return body * np.clip(joint * 10 - 0.4, 0, 1)


def clouds(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw soft blotches of all sizes."""
    return fractal_noise(x * 4, y * 4, rng, octaves=4)


def grass(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw fine blades that lean with a slow wind."""
    lean = value_noise(x * 2, y * 2, rng)
    blades = value_noise((x + 0.25 * lean) * 34, y * 6, rng)
    return np.clip((blades - 0.5) * 2.4 + 0.5, 0, 1)


def pebbles(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw rounded cells around jittered points (Worley 1996), dark where the two nearest are equally near."""
    x, y = x * 8, y * 8
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    col, row = left.astype(np.int32), top.astype(np.int32)
    jitter = rng.random((2, _LATTICE * _LATTICE), dtype=np.float32)
    tint = rng.random(_LATTICE * _LATTICE, dtype=np.float32)
    nearest = np.full(x.shape, 9, np.float32)  # squared distances, below 9 in the cells that are looked at
    second = nearest.copy()
    owner = np.zeros(x.shape, np.int32)
    for drow in (-1, 0, 1):
        for dcol in (-1, 0, 1):
            cell = ((row + drow) & _WRAP) * _LATTICE + ((col + dcol) & _WRAP)
            dx, dy = jitter[0].take(cell) + (dcol - x), jitter[1].take(cell) + (drow - y)
            dist = dx * dx + dy * dy
            owner = np.where(dist < nearest, cell, owner)
            second = np.minimum(second, np.maximum(nearest, dist))
            nearest = np.minimum(nearest, dist)
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    return np.clip((second - nearest) * 5, 0, 1) * (0.5 + 0.4 * tint.take(owner)) * (1.1 - 0.5 * nearest)


def planks(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw boards with wavy grain and narrow gaps."""
    y = y * 4.5
    board = np.floor(y)
    tint = cell_values(board * 0, board, rng)
    rings = 5 * value_noise(x * 1.5 + 7 * board, y * 1.6, rng)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (rings + y * 1.5))
    gap = np.clip(np.minimum(y - board, board + 1 - y) * 14, 0, 1)
    return (0.25 + 0.35 * tint + 0.4 * grain) * gap


def stripes(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw even bands."""
    return (np.sin(2 * np.pi * 9 * x + rng.uniform(0, 6)) > 0).astype(np.float32)


def dots(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw a grid of dots."""
    x, y = x * 9, y * 9
    x, y = x - np.floor(x) - 0.5, y - np.floor(y) - 0.5
    return np.clip((0.33 - np.sqrt(x * x + y * y)) * 6 + 0.5, 0, 1)


def checks(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw a chequerboard."""
    return ((np.floor(x * 10).astype(np.int32) + np.floor(y * 10).astype(np.int32)) & 1).astype(np.float32)


def speckle(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw fine noise."""
    return np.clip((value_noise(x * 24, y * 24, rng) - 0.5) * 2 + 0.5, 0, 1)


def mottle(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw coarse blotches."""
    return fractal_noise(x * 6, y * 6, rng, octaves=2)


def plain(x: np.ndarray, y: np.ndarray, rng: Generator) -> np.ndarray:
    """Draw a slow gradient."""
    return 0.5 + 0.5 * np.sin(6 * x)


Texture = Callable[[np.ndarray, np.ndarray, Generator], np.ndarray]

SURFACES: dict[str, Texture] = {fun.__name__: fun for fun in (bricks, clouds, grass, pebbles, planks)}
FILLS: tuple[Texture, ...] = (plain, stripes, dots, checks, speckle, mottle)


def turned(
    x: np.ndarray, y: np.ndarray, rng: Generator, zoom: tuple[float, float] = (0.75, 1.35)
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates after a random rotation, zoom and shift, so that no two surfaces of a class lie alike."""
    angle, scale = rng.uniform(0, 2 * math.pi), rng.uniform(*zoom)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return cos * x - sin * y + rng.uniform(0, _LATTICE), sin * x + cos * y + rng.uniform(0, _LATTICE)
