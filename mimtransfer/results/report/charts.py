"""Line charts and scatter plots as SVG, drawn by matplotlib, for one HTML file that holds many of them."""
import io
import itertools
import math
import re
import xml.etree.ElementTree as ET
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind readers too; a ninth row starts again with dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c8c8c")
_DASHES = ("-", "--", ":")
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


class Charts:
    """Draw the charts of one report: each gets ids of its own, which must be unique in an HTML file."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def lines(self, lines: list[Line], x_title: str) -> str:
        """Draw curves over iterations; each says its title to who points at it."""
        figure, axes = _empty(x_title)
        titles = {}
        for number, line in enumerate(lines):
            marker = "o" if len(line.points) < 12 else ""
            points = [(x, math.nan if y is None else y) for x, y in line.points]  # a gap where it was not finite
            for x, y in line.points:
                if y is None:
                    axes.axvline(x, linewidth=0.8, **line_style(line.row))
            (drawn,) = axes.plot(*zip(*points), marker=marker, markersize=4, linewidth=1.4, **line_style(line.row))
            drawn.set_gid(name := f"line-{number}")
            titles[name] = line.title
        return self._svg(figure, titles)

    def scatter(self, dots: list[Dot], x_title: str) -> str:
        """Draw scores over costs, the costs from zero on; vertical bars are standard deviations."""
        figure, axes = _empty(x_title)
        titles = {}
        right = max(dot.x for dot in dots) or 1.0
        axes.set_xlim(-0.03 * right, 1.05 * right)
        for number, dot in enumerate(dots):
            style = line_style(dot.row)
            (drawn,) = axes.plot(dot.x, dot.y, "o", markersize=7, color=style["color"], clip_on=False)
            drawn.set_gid(name := f"dot-{number}")
            titles[name] = f"{dot.title}: {dot.y:g} at {dot.x:.3g}"
            if dot.std:
                axes.plot([dot.x] * 2, [dot.y - dot.std, dot.y + dot.std], linewidth=1.4, **style)
        _label(axes, dots)
        return self._svg(figure, titles)

    def over_amounts(self, lines: list[tuple[str, int, list[tuple[float, float, float | None]]]], x_title: str,
                     unit: str) -> str:
        """Draw scores over amounts of labels on a logarithmic axis; vertical bars are standard deviations.

        Args:
            lines: title, number of the row, and (amount, score, standard deviation or None) of each line.
            x_title: what is counted.
            unit: behind the numbers of the axis, e.g. " %".
        """
        figure, axes = _empty(x_title)
        axes.set_xscale("log")
        titles = {}
        for number, (title, row, points) in enumerate(lines):
            x, y, std = zip(*sorted(points))
            style = line_style(row)
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


def _empty(x_title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE)
    axes = figure.add_axes((0.12, 0.16, 0.86, 0.8), xlabel=x_title)
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Leave of the frame of a chart only what is read: the x axis, a few horizontal lines and round numbers."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#8888")
    axes.grid(axis="y", color="#8884", linewidth=0.8, clip_on=False)
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def line_style(row: int) -> dict:
    """Return colour and dashes of a row of the table."""
    dashes = _DASHES[min(row // len(COLOURS), len(_DASHES) - 1)]
    return {"color": COLOURS[row % len(COLOURS)], "linestyle": dashes, "clip_on": False}


def _label(axes: Axes, dots: list[Dot]) -> None:
    """Write titles beside dots, towards the middle; those that would overlap go above each other."""
    axes.margins(y=0.2)
    axes.autoscale_view()  # the limits decide what is near
    taken: list[tuple[float, float, float]] = []  # left, right and height of titles, in points
    for dot in sorted(dots, key=lambda dot: dot.y):
        x, y = axes.transData.transform((dot.x, dot.y)) * 72 / axes.figure.dpi
        on_left = x > 0.6 * 72 * _SIZE[0]
        width = 8 + 6 * len(dot.title)  # about 6 points a letter
        left, right, height = (x - width, x, y) if on_left else (x, x + width, y)
        while any(abs(height - other) < 11 and left < end and start < right for start, end, other in taken):
            height += 2
        taken.append((left, right, height))
        axes.annotate(dot.title, (dot.x, dot.y), (-8 if on_left else 8, height - y), textcoords="offset points",
                      ha="right" if on_left else "left", va="center", parse_math=False)


def _serialised(root: ET.Element) -> str:
    """Return XML as HTML takes it: the namespaces are known there."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        link = element.attrib.pop(_LINK, None)
        if link is not None:
            element.set("href", link)
    return ET.tostring(root, encoding="unicode")
