"""Line charts, bars and scatter plots as SVG, drawn by matplotlib, for one HTML file that holds many of them."""
import io
import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from mimtransfer.results.closing import significant
from mimtransfer.results.measurement import lower_is_better, title_of
from mimtransfer.results.report.colours import line_style

_SIZE = 4.4, 2.7  # inches, of 72 units each in the SVG
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


class Line(NamedTuple):
    """A curve: what it is called, the number of its row (for the colour), its points."""

    title: str
    row: int
    points: list[list[Any]]  # [iteration, value]; None where the value was not finite


class Dot(NamedTuple):
    """A point of a scatter plot, with the standard deviation of y, or None."""

    title: str
    row: int
    x: float
    y: float
    std: float | None


class Bars(NamedTuple):
    """The bars of a row: what it is called, the number of its row, (value, standard deviation or None) of each group,
    None where there is no value.
    """

    title: str
    row: int
    values: list[tuple[float, float | None] | None]


class Charts:
    """Draw the charts of one report: each gets ids of its own, which must be unique in an HTML file.

    Args:
        slots: of each row, what decides its colour (`colours.slots_of`); None: its number.
    """

    def __init__(self, slots: Sequence[int] | None = None) -> None:
        self._numbers = itertools.count()
        self._slots = slots

    def _style(self, row: int) -> dict:
        return line_style(row if self._slots is None else self._slots[row])

    def lines(self, lines: list[Line], x_title: str, y_title: str) -> str:
        """Draw curves over iterations; each says its title to who points at it."""
        figure, axes = _empty(x_title, y_title)
        titles = {}
        for number, line in enumerate(lines):
            marker = "o" if len(line.points) < 12 else ""
            points = [(x, math.nan if y is None else y) for x, y in line.points]  # a gap where it was not finite
            for x, y in line.points:
                if y is None:
                    axes.axvline(x, linewidth=0.8, **self._style(line.row))
            (drawn,) = axes.plot(*zip(*points), marker=marker, markersize=4, linewidth=1.4, **self._style(line.row))
            drawn.set_gid(name := f"line-{number}")
            titles[name] = line.title
        return self._svg(figure, titles)

    def scatter(self, dots: list[Dot], x_title: str, y_title: str) -> str:
        """Draw scores over costs, the costs from zero on; vertical bars are standard deviations."""
        figure, axes = _empty(x_title, y_title)
        titles = {}
        right = max(dot.x for dot in dots) or 1.0
        axes.set_xlim(-0.03 * right, 1.05 * right)
        for number, dot in enumerate(dots):
            style = self._style(dot.row)
            (drawn,) = axes.plot(dot.x, dot.y, "o", markersize=7, color=style["color"], clip_on=False)
            drawn.set_gid(name := f"dot-{number}")
            titles[name] = f"{dot.title}: {dot.y:g} at {significant(dot.x)}"
            if dot.std:
                axes.plot([dot.x] * 2, [dot.y - dot.std, dot.y + dot.std], linewidth=1.4, **style)
        _label(axes, dots)
        return self._svg(figure, titles)

    def over_amounts(self, lines: list[tuple[str, int, list[tuple[float, float, float | None]]]], x_title: str,
                     y_title: str, unit: str) -> str:
        """Draw scores over amounts of labels on a logarithmic axis; vertical bars are standard deviations.

        Args:
            lines: title, number of the row, and (amount, score, standard deviation or None) of each line.
            x_title: what is counted.
            y_title: the score.
            unit: behind the numbers of the axis, e.g. " %".
        """
        figure, axes = _empty(x_title, y_title)
        axes.set_xscale("log")
        titles = {}
        for number, (title, row, points) in enumerate(lines):
            x, y, std = zip(*sorted(points))
            style = self._style(row)
            (drawn,) = axes.plot(x, y, marker="o", markersize=5, linewidth=1.4, **style)
            drawn.set_gid(name := f"line-{number}")
            titles[name] = f"{title}: " + ", ".join(f"{value:g} at {at:g}{unit}" for at, value in zip(x, y))
            for at, value, spread in zip(x, y, std):
                if spread:
                    axes.plot([at] * 2, [value - spread, value + spread], linewidth=1.4, **style)
        amounts = sorted({at for _, _, points in lines for at, _, _ in points})
        axes.set_xticks(amounts, [f"{at:g}{unit}" for at in amounts])
        axes.minorticks_off()
        return self._svg(figure, titles)

    def bars(self, bars: list[Bars], groups: list[str], x_title: str, y_title: str) -> str:
        """Draw a bar for each row in each group; vertical lines are standard deviations."""
        figure, axes = _empty(x_title, y_title, max(len(group.splitlines()) for group in groups))
        width, titles = 0.8 / len(bars), {}
        for number, (title, row, values) in enumerate(bars):
            style = self._style(row)
            for at, value in enumerate(values):
                if value is None:
                    continue
                x, (height, std) = at + (number - (len(bars) - 1) / 2) * width, value
                hatch = None if style["linestyle"] == "-" else "///"
                (drawn,) = axes.bar(x, height, 0.9 * width, color=style["color"], hatch=hatch, edgecolor="#fff8",
                                    linewidth=0)
                drawn.set_gid(name := f"bar-{number}-{at}")
                spread = "" if std is None else f" \u00b1 {std:.2g}"
                titles[name] = f"{title}, {groups[at].splitlines()[0]}: {height:g}{spread}"
                if std:
                    axes.plot([x] * 2, [height - std, height + std], linewidth=1.1, color="#888888", clip_on=False)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylim(bottom=0)
        return self._svg(figure, titles)

    def _svg(self, figure: Figure, titles: dict[str, str]) -> str:
        """Return a figure as an `svg` element.

        Args:
            titles: id of an artist -> what to show where the mouse points at it.
        """
        number = next(self._numbers)
        out = io.StringIO()
        # The text stays text, of the page's own font and colour; the salt makes ids that are the same in every run.
        options: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": f"chart {number}"}
        with matplotlib.rc_context(options):
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(out, format="svg", transparent=True, metadata=nothing)
        root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", out.getvalue()))
        linked = {element.get(_LINK, "")[1:] for element in root.iter()}
        for element in root.iter():
            for child in list(element):
                if child.tag == f"{_SVG}style":  # it would be that of the whole page
                    element.remove(child)
            name = element.get("id")
            if name in titles:
                title = ET.Element(f"{_SVG}title")
                title.text = titles[name]
                element.insert(0, title)
            if name is not None and name not in linked:
                del element.attrib["id"]
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img"}
        return _serialised(root)


def _empty(x_title: str, y_title: str, lines: int = 2) -> tuple[Figure, Axes]:
    """Return a chart with room for so many lines below its x axis."""
    figure = Figure(figsize=_SIZE)
    bottom = 0.05 + 0.06 * lines
    axes = figure.add_axes((0.15, bottom, 0.83, 0.96 - bottom), xlabel=x_title, ylabel=y_title)
    plain(axes)
    return figure, axes


def axis_title_of(metric: str) -> str:
    """Return the title of an axis for a metric."""
    return title_of(metric) + (" (lower is better)" if lower_is_better(metric) else "")


def plain(axes: Axes) -> None:
    """Leave of the frame of a chart only what is read: the x axis, a few horizontal lines and round numbers."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#8888")
    axes.grid(axis="y", color="#8884", linewidth=0.8, clip_on=False)
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _label(axes: Axes, dots: list[Dot]) -> None:
    """Write titles beside dots, each at the nearest place where it covers no other title, no dot and, if it may be, no
    bar.
    """
    axes.margins(y=0.2)
    axes.autoscale_view()  # the limits decide what is near
    width, height = (72 * side for side in _SIZE)

    def in_points(x: float, y: float) -> tuple[float, float]:
        return tuple(axes.transData.transform((x, y)) * 72 / axes.figure.dpi)

    at = [in_points(dot.x, dot.y) for dot in dots]
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in at]  # left, right, bottom, top in points
    bars = []
    for dot in dots:
        (x, bottom), (_, top) = (in_points(dot.x, dot.y + end * (dot.std or 0.0)) for end in (-1, 1))
        bars.append((x - 1, x + 1, bottom, top))
    for dot, (x, y) in sorted(zip(dots, at), key=lambda pair: pair[0].y):
        outline = TextPath((0, 0), dot.title.replace("$", r"\$"), size=10)  # as plain text, no mathematics
        length = 1.05 * outline.get_extents().width
        sides = (-1, 1) if x > 0.6 * width else (1, -1)  # towards the middle
        rises = 0, 9, -9, 14, -14, 20, -20, 28, -28, 36, -36, 44
        for covered, rise, side in itertools.product((taken + bars, taken), rises, sides):
            left = x + 8 if side > 0 else x - 8 - length
            box = left, left + length, y + rise - 5.5, y + rise + 5.5
            inside = box[0] >= 0 and box[1] <= width and box[3] <= height
            if inside and not any(_overlap(box, other) for other in covered):
                break
        taken.append(box)
        leader = {"arrowstyle": "-", "color": "#8888", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
        axes.annotate(dot.title, (dot.x, dot.y), (8 * side, rise), textcoords="offset points", parse_math=False,
                      ha="left" if side > 0 else "right", va="center", arrowprops=leader if abs(rise) > 9 else None)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Say whether two boxes of left, right, bottom, top have a common part."""
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def _serialised(root: ET.Element) -> str:
    """Return XML as HTML takes it: the namespaces are known there."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        link = element.attrib.pop(_LINK, None)
        if link is not None:
            element.set("href", link)
    return ET.tostring(root, encoding="unicode")
