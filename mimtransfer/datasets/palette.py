"""The colours that classes are drawn in: the data set's own, so that pictures look like those of its papers."""
from __future__ import annotations

import colorsys
from typing import Any

from mimtransfer.datasets.configured import classes_of, dataset_class, own_classes

Colour = tuple[int, int, int]


def palette_of(dataset: dict) -> list[Colour]:
    """Return a colour for each class of a data set: the config's, else those of its class, by name.

    Classes without a colour of their own get one of `distinct_colours`.

    Returns:
        RGB, 0 to 255, in the order of `classes_of`.
    """
    classes = classes_of(dataset)
    configured: Any = (dataset.get("metainfo") or {}).get("palette")
    if _is_list(configured) and len(configured) == len(classes):
        return [_colour(value) for value in configured]
    own: Any = getattr(dataset_class(dataset), "METAINFO", {}).get("palette")
    known = dict(zip(own_classes(dataset), own)) if _is_list(own) else {}
    return [_colour(known.get(name, other)) for name, other in zip(classes, distinct_colours(len(classes)))]


def distinct_colours(number: int) -> list[Colour]:
    """Return colours that differ (golden-ratio hues)."""
    hues = [(i * 0.618034) % 1.0 for i in range(number)]
    colours = [colorsys.hsv_to_rgb(hue, 0.75, 0.6 + 0.4 * (i % 2)) for i, hue in enumerate(hues)]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]


def _is_list(palette: Any) -> bool:
    """Tell colours from mmdet's words for a palette, such as 'random'."""
    return isinstance(palette, (list, tuple))


def _colour(value: Any) -> Colour:
    red, green, blue = value
    return int(red), int(green), int(blue)
