"""Look at image files: are they there, can the pipeline decode them, have they the size that the labels speak of."""
from __future__ import annotations

import io
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image

from mimtransfer.checks import FAIL, WARN, Finding, counted
from mimtransfer.datasets.bands import read_bands
from mimtransfer.datasets.tree import kind_of, printable
from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, read_regular

_ORIENTATION = 0x0112


class Opened(NamedTuple):
    """What is known of an image that was decoded."""

    width: int  # as the pipeline sees it: turned as its EXIF data say
    height: int
    orientation: int  # EXIF: 1 upright, 2 to 4 of the same size, 5 to 8 with sides exchanged


def spread(items: Sequence, count: int | None) -> list:
    """Return about `count` items, evenly spaced; all where it is None."""
    return list(items) if count is None else list(items[:: max(1, len(items) // count)])


class Listing:
    """The names of files in folders, each read once: COCO has 118,000 in one. A link to nothing is no file."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, str]] = {}

    def _of(self, folder: str) -> dict[str, str]:
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = {entry.name: entry.name.lower() for entry in entries
                                           if kind_of(entry) == "file"}
            except OSError:
                self._names[folder] = {}
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Say whether a file is there."""
        folder, name = osp.split(path)
        return name in self._of(folder)

    def in_other_case(self, path: str) -> str:
        """Say which file differs in upper and lower case only: "; there is 'a.JPG'", or ""."""
        folder, name = osp.split(path)
        near = [other for other, lower in self._of(folder).items() if lower == name.lower() and other != name]
        return f"; there is {near[0]!r}" if near else ""


def open_image(path: str, in_chans: int | None = None) -> Opened:
    """Decode an image as the pipelines of mmdet and mmseg do.

    Args:
        in_chans: channels that `LoadBands` reads; None: it is `LoadImageFromFile` that reads.

    Raises:
        UnreadableImage: it cannot be read.
    """
    from mimtransfer.datasets.reading import decode

    content = read_regular(path)
    if in_chans is not None:
        height, width = read_bands(content, in_chans).shape[:2]
        return Opened(width, height, 1)
    height, width = decode(content).shape[:2]
    try:
        with Image.open(io.BytesIO(content)) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
    except BROKEN:  # OpenCV reads more formats, and broken EXIF data do not make the pixels unreadable
        orientation = 1
    return Opened(width, height, orientation)


def coco_images(
    names: list[str], sizes: list[tuple[float, float]], folder: str, path: str, count: int | None, limit: int
) -> Iterator[Finding]:
    """Yield what is wrong with the image files of a COCO json: missing ones, and of some the content and the size.

    Args:
        names: below `folder`.
        sizes: width and height as the json says.
        path: of the json.
        count: so many are decoded; None: all.
        limit: so many unreadable ones are gone on from.
    """
    listing = Listing()
    missing = [name for name in names if not listing.has(osp.join(folder, name))]
    if missing:
        near = listing.in_other_case(osp.join(folder, missing[0]))
        yield Finding(FAIL, f"{path!r} lists {len(names)} images but {len(missing)} of them are not in {folder!r}, the "
                      f"first is {missing[0]!r}{near.replace(';', ',')}",
                      "copy them there, rename them or set data_prefix=dict(img=...)")
        return
    broken, wrong, turned = [], [], []
    for name, (width, height) in spread(list(zip(names, sizes)), count):
        try:
            image = open_image(osp.join(folder, name))
        except UnreadableImage as error:
            broken.append(f"{printable(name)} ({error})")
            continue
        if (image.width, image.height) != (width, height):
            exif = " (turned as its EXIF data say)" if image.orientation >= 5 else ""
            wrong.append(f"{name} is {image.width}x{image.height}{exif}, the json says {width}x{height}")
        elif image.orientation in (2, 3, 4) or (image.orientation > 4 and image.width == image.height):
            turned.append(printable(name))
    yield from unreadable_images(broken, limit, f"images in {folder!r}")
    yield from counted(FAIL, wrong, "images of another size than the json says",
                       "boxes would be off: scale the annotations or restore the images (EXIF rotation counts)")
    yield from turned_images(turned)


def unreadable_images(broken: list[str], limit: int, what: str = "images") -> Iterator[Finding]:
    """Yield a finding about files that cannot be read; so many as the run goes on from are a warning."""
    yield from counted(FAIL if len(broken) > limit else WARN, broken, f"{what} that cannot be read",
                       "copy or download them again, remove them, or train without them by --max-corrupt N")


def turned_images(names: list[str]) -> Iterator[Finding]:
    """Yield a finding about images that are turned while they are read, at the same size."""
    yield from counted(WARN, names, "images are turned by their EXIF data when they are read",
                       "check that they were labelled as viewers show them, not as they are stored")
