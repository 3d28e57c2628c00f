"""From composition to pixels: two-colour textures, soft edges, shadows, light, blur, noise. No colour tells a class.

The canvas is [3, H, W]: NumPy multiplies a plane into it ten times as fast as into [H, W, 3].
"""
import math

import numpy as np
from numpy.random import Generator

from mimtransfer.datasets.scenes.compose import Composition, Patch
from mimtransfer.datasets.scenes.style import SceneStyle
from mimtransfer.datasets.scenes.textures import FILLS, SURFACES, fractal_noise, turned


def paint(scene: Composition, style: SceneStyle, rng: Generator) -> np.ndarray:
    """Return the picture [H, W, 3] uint8 RGB of a composition."""
    side = min(scene.index_map.shape)
    canvas = np.zeros((3, *scene.index_map.shape), np.float32)
    for kind, cover in scene.surfaces:  # the first one covers all
        shade = SURFACES[style.stuff[kind]](*turned(scene.x, scene.y, rng), rng)
        canvas += cover * (_blend(shade, *_surface_colours(style, rng)) - canvas)
    for patch in scene.clutter:
        _fill(canvas, patch, style, rng, side, opacity=rng.uniform(0.5, 1))
    for instance in reversed(scene.instances):
        _fill(canvas, instance.patch, style, rng, side, shadow=rng.random() < 0.5)
    for patch in scene.occluders:
        _fill(canvas, patch, style, rng, side, shadow=True)
    canvas *= _light(scene, style, rng)
    canvas = _blur(canvas, rng.uniform(*style.blur) * side / 96)
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(*style.noise))
    return np.ascontiguousarray(np.rint(canvas.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def _blend(shade: np.ndarray, dark: np.ndarray, bright: np.ndarray) -> np.ndarray:
    return dark[:, None, None] + shade * (bright - dark)[:, None, None]


def _surface_colours(style: SceneStyle, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    base = rng.uniform(0.25, 0.6) + rng.uniform(-0.12, 0.12, 3)
    return base.astype(np.float32), _other(base, rng.uniform(*style.surface_contrast), rng)


def _other(colour: np.ndarray, distance: float, rng: Generator) -> np.ndarray:
    """Return a colour at about this RGB distance, lighter or darker, wherever there is more room."""
    direction = rng.choice([-1.0, 1.0]) + rng.normal(0, 0.6, 3)
    direction *= distance / math.hypot(*direction)
    one, two = (colour + direction).clip(0.02, 0.98), (colour - direction).clip(0.02, 0.98)
    chosen = one if math.dist(one, colour) >= 0.85 * math.dist(two, colour) else two
    return chosen.astype(np.float32)


def _fill(
    canvas: np.ndarray,
    patch: Patch,
    style: SceneStyle,
    rng: Generator,
    side: int,
    shadow: bool = False,
    opacity: float = 1.0,
) -> None:
    """Paint a patch in place, in colours chosen against what lies behind it."""
    below = canvas[:, patch.window[0], patch.window[1]]
    cover = (patch.level + 0.5).clip(0, 1) * np.float32(opacity)
    weight = float(cover.sum())
    if weight == 0:
        return
    behind = (cover * below).sum((1, 2)) / weight
    main = _other(behind, rng.uniform(*style.contrast), rng)
    # the second colour is on the far side of the first, so the fill never fades into what lies behind
    away = (main - behind) / max(math.dist(main, behind), 1e-6) + rng.normal(0, 0.4, 3)
    second = np.clip(main + rng.uniform(0.05, 0.25) * away, 0.02, 0.98).astype(np.float32)
    shade = FILLS[rng.integers(len(FILLS))](*turned(*patch.local, rng, zoom=(0.8, 1.5)), rng)
    if shadow:
        _shadow(canvas, patch, rng, side)
    below += cover * (_blend(shade, main, second) - below)


def _shadow(canvas: np.ndarray, patch: Patch, rng: Generator, side: int) -> None:
    """Darken what lies behind, one to three pixels (of a 96-pixel image) down and to a side."""
    down, right = (round(v * side / 96) for v in (rng.uniform(1, 3), rng.uniform(-2.5, 2.5)))
    rows, cols = patch.window
    soft = np.clip(0.5 + patch.level * (24 / side), 0, 1) * np.float32(rng.uniform(0.2, 0.5))
    # the shifted window, clipped to the image
    row, col = rows.start + down, cols.start + right
    top, left = max(row, 0), max(col, 0)
    bottom, end = min(rows.stop + down, canvas.shape[1]), min(cols.stop + right, canvas.shape[2])
    if top < bottom and left < end:
        canvas[:, top:bottom, left:end] *= 1 - soft[top - row : bottom - row, left - col : end - col]


def _light(scene: Composition, style: SceneStyle, rng: Generator) -> np.ndarray:
    """Return a slow change of light over the image, [H, W] float32 around 1."""
    angle = rng.uniform(0, 2 * math.pi)
    ramp = math.cos(angle) * (scene.x / scene.x.max() - 0.5) + math.sin(angle) * (scene.y / scene.y.max() - 0.5)
    drift = fractal_noise(scene.x * 1.5, scene.y * 1.5, rng, octaves=1) - 0.5
    return 1 + style.illumination * (rng.uniform(0, 1.2) * ramp + rng.uniform(0, 0.8) * drift)


def _blur(canvas: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian of `sigma` pixels, borders repeated."""
    reach = int(np.ceil(2.5 * sigma))
    if sigma < 0.2:  # the kernel would be a single 1
        return canvas
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    taps /= taps.sum()
    height, width = canvas.shape[1:]
    padded = np.pad(canvas, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows = sum(tap * padded[:, k : k + height] for k, tap in enumerate(taps))
    return sum(tap * rows[:, :, k : k + width] for k, tap in enumerate(taps))
