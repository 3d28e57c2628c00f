"""Line charts and scatter plots as SVG."""
import math
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import NamedTuple

from mimtransfer.results.report.style import COLOURS, stroke

_WIDTH, _HEIGHT = 440, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 40


class Line(NamedTuple):
    """A curve: what it is called, the number of its row (for the colour), its points."""

    title: str
    row: int
    points: list[list[float | None]]


class Dot(NamedTuple):
    """A point of a scatter plot, with the standard deviation of y, or None."""

    title: str
    row: int
    x: float
    y: float
    deviation: float | None


def line_chart(lines: list[Line], x_title: str) -> str:
    """Draw curves over iterations."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if y is not None] or [0.0]
    axes = _Axes((min(xs), max(xs)), (min(ys), max(ys)))
    marks = []
    for line in lines:
        for part in _parts(line.points):
            places = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in part)
            marks.append(f'<polyline points="{places}" fill="none" stroke-width="1.6" {stroke(line.row)}>'
                         f"<title>{escape(line.title)}</title></polyline>")
        for x in (x for x, y in line.points if y is None):
            marks.append(f'<line x1="{axes.x(x):.1f}" x2="{axes.x(x):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" '
                         f'stroke-width="0.6" {stroke(line.row)}>'
                         f"<title>{escape(line.title)}: not finite at {x:g}</title></line>")
        if len(line.points) < 12:
            for x, y in ((x, y) for x, y in line.points if y is not None):
                marks.append(_circle(axes.x(x), axes.y(y), 2.2, line.row, f"{line.title}: {y:g} at {x:g}"))
    return axes.drawing(marks, x_title)


def _parts(points: list[list[float | None]]) -> Iterator[list[list[float]]]:
    """Yield what lies between the points that are not finite."""
    for finite, part in groupby(points, key=lambda point: point[1] is not None):
        if finite:
            yield list(part)


def scatter(dots: list[Dot], x_title: str) -> str:
    """Draw scores over costs, the costs from zero on; vertical bars are standard deviations."""
    spread = [dot.y + sign * (dot.deviation or 0) for dot in dots for sign in (-1, 1)]
    axes = _Axes((0, max(dot.x for dot in dots)), (min(spread), max(spread)))
    marks, taken = [], []
    for dot in sorted(dots, key=lambda dot: dot.y):
        x, y = axes.x(dot.x), axes.y(dot.y)
        if dot.deviation:
            marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axes.y(dot.y - dot.deviation):.1f}" '
                         f'y2="{axes.y(dot.y + dot.deviation):.1f}" stroke-width="1.4" {stroke(dot.row)}/>')
        marks.append(_circle(x, y, 4.5, dot.row, f"{dot.title}: {dot.y:g} at {dot.x:.3g}"))
        left = x > _WIDTH * 0.6
        height = y + 4
        while any(abs(height - other) < 12 and abs(x - place) < 150 for place, other in taken):
            height -= 12  # labels of neighbours go above each other
        taken.append((x, height))
        marks.append(f'<text class="label" x="{x + (-9 if left else 9):.1f}" y="{height:.1f}" '
                     f'text-anchor="{"end" if left else "start"}">{escape(dot.title)}</text>')
    return axes.drawing(marks, x_title)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, about `count` of them, in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


class _Axes:
    def __init__(self, xs: tuple[float, float], ys: tuple[float, float]) -> None:
        self._xs, self._ys = _widened(*xs, margin=0.02), _widened(*ys, margin=0.06)
        if xs[0] == 0:
            self._xs = (-0.03 * self._xs[1], self._xs[1])

    def x(self, value: float) -> float:
        low, high = self._xs
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._ys
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def drawing(self, marks: list[str], x_title: str) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        frame = []
        for value in ticks(*self._ys):
            y = self.y(value)
            frame.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                         f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in ticks(*self._xs):
            frame.append(f'<text x="{self.x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
        frame.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        frame.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>')
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(frame + marks)}</svg>'


def _widened(low: float, high: float, margin: float) -> tuple[float, float]:
    space = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - space, high + space


def _circle(x: float, y: float, radius: float, row: int, title: str) -> str:
    colour = COLOURS[row % len(COLOURS)]
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(title)}</title></circle>'
