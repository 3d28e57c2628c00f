"""Which training images mmdet leaves out without a word: `filter_cfg` of a data set of boxes."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class LeftOut(NamedTuple):
    """Numbers of images; each is counted once."""

    images: int  # all of them
    small: int
    empty: int  # of the large ones
    min_size: int

    @property
    def kept(self) -> int:
        return self.images - self.small - self.empty

    def in_words(self) -> str:
        """Return them in one line; "" where nothing is left out."""
        small = f"smaller than {self.min_size} pixels (filter_cfg.min_size)"
        empty = "without an object of the classes (filter_cfg.filter_empty_gt)"
        why = [(self.small, small), (self.empty, empty)]
        told = [(number, words) for number, words in why if number]
        if not told:
            return ""
        each = " and ".join(f"{number} {words}" if len(told) > 1 else words for number, words in told)
        return f"{self.images - self.kept} of {self.images} training images left out: {each}"


def left_out(images: Sequence[Mapping[str, Any]], labelled: Collection[Any], cfg: Mapping[str, Any]) -> LeftOut:
    """Count the images that a filter leaves out, as mmdet's `CocoDataset.filter_data` does.

    Args:
        images: of a COCO json.
        labelled: ids of the images with an object of the classes.
        cfg: `filter_cfg` of the data set.
    """
    least, needs_objects = cfg.get("min_size", 0), cfg.get("filter_empty_gt", False)
    large = [image for image in images if min(image["width"], image["height"]) >= least]
    empty = sum(image["id"] not in labelled for image in large) if needs_objects else 0
    return LeftOut(len(images), len(images) - len(large), empty, least)
