"""Look at a data set of images and index maps: which files mmseg reads and which it passes over, values and sizes."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Mapping

import numpy as np

from mimtransfer.checks import FAIL, OK, WARN, Finding, counted
from mimtransfer.checks.image_files import Listing, open_image, spread, turned_images, unreadable_images
from mimtransfer.datasets.configured import argument, bands_of, classes_of, own_classes
from mimtransfer.datasets.sources.base import EXTENSIONS
from mimtransfer.datasets.tree import LOOP, Tree, left_out_images, printable, walk
from mimtransfer.datasets.unreadable import UnreadableImage, read_regular
from mimtransfer.errors import near_files

_MOST = 500  # maps read when the first ones hold a single class
_MAPS_A_CLASS = 20  # so many maps read for each class make a class that is in none of them worth a word


def map_findings(dataset: dict, where: str, count: int | None, limit: int) -> Iterator[Finding]:
    """Yield what is wrong with a data set of index maps.

    Args:
        where: begins each finding, e.g. "train data".
        count: maps and images decoded, spread evenly; None: all.
        limit: so many unreadable images are gone on from.
    """
    root, prefix = dataset.get("data_root") or "", dataset["data_prefix"]
    images, maps = osp.join(root, prefix.get("img_path") or ""), osp.join(root, prefix["seg_map_path"] or "")
    for folder in (images, maps):
        if not osp.isdir(folder):
            near = near_files(folder).replace(";", ",")
            yield Finding(FAIL, f"{where}: folder {folder!r} does not exist{near}", "check data_root and data_prefix")
            return
    suffixes = argument(dataset, "img_suffix"), argument(dataset, "seg_map_suffix")
    problems: list[Finding] = []
    if dataset.get("ann_file"):
        stems = _listed(osp.join(root, dataset["ann_file"]), problems)
        problems += _missing(stems, images, maps, suffixes)
    else:
        stems = _found(images, maps, suffixes, problems)
    if stems and not any(found.level == FAIL for found in problems):
        problems += _contents(dataset, stems, images, maps, suffixes, count, limit)
    yield from (found._replace(what=f"{where}: {found.what}") for found in problems)
    if not problems:
        yield Finding(OK, f"{where}, {maps}: {len(stems)} images with index maps")


def map_problems(
    values: Mapping[str, set[int]], classes: tuple[str, ...], reduce_zero: bool, ignore: int, path: str, complete: bool
) -> Iterator[Finding]:
    """Yield what is wrong with the values in index maps.

    Args:
        values: of each map that was read, by its name.
        classes: of the labels in the files.
        ignore: index of pixels without a label.
        path: of the maps, for the message.
        complete: whether all maps were read.
    """
    first, last = (1, len(classes)) if reduce_zero else (0, len(classes) - 1)
    every = set().union(*values.values())
    high = [f"{name} holds {max(found - {ignore, 255})}" for name, found in values.items()
            if any(value > last or value < 0 for value in found - {ignore, 255})]
    sense = f"({len(classes)} classes, reduce_zero_label={reduce_zero})"
    yield from counted(FAIL, high, f"index maps with values above {last} in {path!r} {sense}",
                       "check num_classes and reduce_zero_label, or write the maps anew: a loss on such a label "
                       "crashes on a GPU")
    if reduce_zero and 0 not in every:
        yield Finding(WARN, f"no pixel is 0 in {path!r}, but reduce_zero_label=True takes 0 for 'no label'",
                      "with labels from 0 set reduce_zero_label=False, or each class is learned as the one before it")
    absent = [name for value, name in enumerate(classes, first) if value not in every]
    if len(absent) == len(classes):
        yield Finding(FAIL, f"no pixel of {path!r} holds a label of the config",
                      "colours must be converted to class indices, 0 for the first class")
    elif every == {0, 255} and len(classes) > 1 and (complete or len(classes) == 2):
        yield Finding(FAIL, f"the {len(values)} index maps read in {path!r} hold 0 and 255 only: 255 is the ignore "
                      f"index, so {', '.join(map(repr, absent[:3]))} has no pixel",
                      "save the maps anew with 1 in place of 255")
    elif complete or len(values) >= _MAPS_A_CLASS * len(classes):
        yield from counted(WARN, absent, f"classes without a single pixel in the {len(values)} index maps read in "
                           f"{path!r}", "they are neither learned nor scored here: check the values, or the classes")


def _found(images: str, maps: str, suffixes: tuple[str, str], problems: list[Finding]) -> list[str]:
    """Return what mmseg pairs, without endings, and add what it passes over to `problems`."""
    try:
        tree, map_tree = walk(images, as_mmseg=True), walk(maps, as_mmseg=True)
    except OSError as error:
        says = f"folder {printable(error.filename)!r} cannot be read ({error.strerror})"
        problems.append(Finding(FAIL, says, "check its rights"))
        return []
    for folder, each in ((images, tree), (maps, map_tree)):
        problems += _entries(folder, each)
    files = [os.fsdecode(path) for path in tree.files]
    labels = {os.fsdecode(path)[: -len(suffixes[1])] for path in map_tree.files if path.endswith(suffixes[1].encode())}
    stems = [file[: -len(suffixes[0])] for file in files if file.endswith(suffixes[0])]
    same_folder = osp.realpath(images) == osp.realpath(maps)
    others = {osp.splitext(file)[0]: file for file in files if file.lower().endswith(EXTENSIONS)
              and not file.endswith(suffixes[0]) and not (same_folder and file.endswith(suffixes[1]))}
    paired = set(stems)
    passed_over = sorted(file for stem, file in others.items() if stem in labels and stem not in paired)
    problems += counted(FAIL, passed_over, f"images with an index map are passed over in {images!r}, for img_suffix is "
                        f"{suffixes[0]!r}", "rename them, upper and lower case counting, or set img_suffix")
    if not stems and not passed_over:
        problems.append(Finding(FAIL, f"no *{suffixes[0]} in {images!r}", "check data_prefix and img_suffix"))
    rest = sorted(file for stem, file in others.items() if stem not in labels)
    problems += counted(WARN, rest, f"images of another ending than {suffixes[0]!r} in {images!r} are left out",
                        "rename them and add their maps, or move them away")
    hidden = [file for file in files if file.endswith(suffixes[0]) and any(p.startswith(".") for p in file.split("/"))]
    problems += counted(WARN, hidden, f"images in hidden folders of {images!r} are read", "remove these folders")
    problems += _missing(stems, images, maps, suffixes)
    unused = sorted(printable(stem + suffixes[1]) for stem in labels - paired - others.keys())
    if stems and not same_folder:
        problems += counted(WARN, unused, f"index maps in {maps!r} have no image", "add the images or remove the maps")
    return stems


def _entries(folder: str, tree: Tree) -> Iterator[Finding]:
    """Yield what mmseg stops at, and what it passes over."""
    stops = [entry for entry in tree.left_out if entry.reason == LOOP or entry.reason.startswith("cannot be read")]
    yield from counted(FAIL, [f"{printable(entry.path)} ({entry.reason})" for entry in stops],
                       f"entries of {folder!r} that mmseg cannot list or reads again and again", "remove them")
    rest = tree._replace(left_out=[entry for entry in tree.left_out if entry not in stops])
    yield from counted(WARN, left_out_images(rest, EXTENSIONS), f"files of {folder!r} are left out", "remove them")


def _listed(path: str, problems: list[Finding]) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            stems = [line.strip() for line in file if line.strip()]
    except (OSError, ValueError) as error:
        problems.append(Finding(FAIL, f"list {path!r} cannot be read ({error})", "check data_root and ann_file"))
        return []
    if not stems:
        problems.append(Finding(FAIL, f"list {path!r} names no image", "write one name a line, without its ending"))
    return stems


def _missing(stems: list[str], images: str, maps: str, suffixes: tuple[str, str]) -> Iterator[Finding]:
    listing = Listing()
    for folder, suffix, what, key in ((images, suffixes[0], "images are not", "img_suffix"),
                                      (maps, suffixes[1], "images have no index map", "seg_map_suffix")):
        missing = [stem for stem in stems if not listing.has(osp.join(folder, stem) + suffix)]
        if missing:
            near = listing.in_other_case(osp.join(folder, missing[0]) + suffix).replace(";", ",")
            yield Finding(FAIL, f"{len(missing)} of {len(stems)} {what} in {folder!r}, the first missing is "
                          f"{printable(missing[0] + suffix)!r}{near}", f"add or rename them, or check {key}")


def _contents(
    dataset: dict, stems: list[str], images: str, maps: str, suffixes: tuple[str, str], count: int | None, limit: int
) -> Iterator[Finding]:
    """Decode images and maps and compare them."""
    chosen = spread(stems, count)
    in_chans = bands_of(dataset)
    rest = [] if len(chosen) == len(stems) else [stem for stem in stems if stem not in set(chosen)][:_MOST]
    values: dict[str, set[int]] = {}
    broken, broken_maps, wrong, turned = [], [], [], []
    for k, stem in enumerate(chosen + rest):
        if k >= len(chosen) and len(set().union(*values.values()) - {255}) > 1:
            break
        name, picture = printable(stem + suffixes[1]), printable(stem + suffixes[0])
        try:
            labels = _read_map(osp.join(maps, stem + suffixes[1]))
        except UnreadableImage as error:
            broken_maps.append(f"{name} ({error})")
            continue
        values[name] = set(np.unique(labels).tolist())
        try:
            image = open_image(osp.join(images, stem + suffixes[0]), in_chans)
        except UnreadableImage as error:
            broken.append(f"{picture} ({error})")
            continue
        if (image.height, image.width) != labels.shape:
            exif = " (turned as its EXIF data say)" if image.orientation >= 5 else ""
            wrong.append(f"{name} {labels.shape[1]}x{labels.shape[0]}, image {image.width}x{image.height}{exif}")
        elif image.orientation in (2, 3, 4) or (image.orientation > 4 and image.width == image.height):
            turned.append(picture)
    yield from counted(FAIL, broken_maps, f"index maps in {maps!r} that cannot be read",
                       "write them anew, colours as class indices, or remove them with their images")
    yield from unreadable_images(broken, limit, f"images in {images!r}")
    yield from counted(FAIL, wrong, "index maps of another size than their image", "resize them (nearest neighbour)")
    yield from turned_images(turned)
    if values and not broken_maps:
        reduce_zero, ignore = bool(argument(dataset, "reduce_zero_label")), dataset.get("ignore_index", 255)
        # Where the config names some of the classes that the data set's class has, the files hold the numbers of all.
        classes, complete = own_classes(dataset) or classes_of(dataset), len(values) == len(stems)
        if classes:
            yield from map_problems(values, classes, reduce_zero, ignore, maps, complete)


def _read_map(path: str) -> np.ndarray:
    """Return [H, W] labels as mmseg reads them, before it makes them uint8."""
    from mimtransfer.datasets.reading import decode

    labels = decode(read_regular(path), "unchanged", "pillow")
    labels = labels[..., 0] if labels.ndim == 3 and labels.shape[2] == 1 else labels
    if labels.ndim != 2:
        raise UnreadableImage(f"has shape {labels.shape}, expected one class index per pixel")
    if labels.dtype.kind == "f":
        if not np.array_equal(labels, np.floor(labels)):
            raise UnreadableImage("holds fractions, expected one class index per pixel")
        labels = labels.astype(np.int64)
    return labels
