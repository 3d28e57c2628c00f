"""Find images with masks of classes, check each mask, and write them as index maps: one byte a pixel, 255 for no label.

A mask is a PNG (or BMP, TIFF) of one channel or with a palette; its values are class numbers from 0, 255 is no label.
Other values, and colours, need a table: a line `name: 3` or `name: 128,64,0` for each class, `ignore` as a name for no
label. A table of CVAT (`labelmap.txt`) is one.
"""
from __future__ import annotations

import io
import os
import os.path as osp
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mimtransfer.datasets.tree import walk
from mimtransfer.datasets.unreadable import BROKEN, UnreadableImage, read_regular, reason
from mimtransfer.errors import UserError
from mimtransfer.own_data.found import IMAGE_ENDINGS, SPLIT_NAMES, Size, split_of
from mimtransfer.own_data.names import check_names, read_names
from mimtransfer.stored import read_text

IGNORED = 255
_PAIRS = (("images", "masks"), ("images", "annotations"), ("images", "labels"), ("images", "segmentation"),
          ("images", "gt"), ("imgs", "masks"), ("image", "mask"), ("JPEGImages", "SegmentationClass"),
          ("images", "mask"), ("img", "mask"), ("img_dir", "ann_dir"), ("leftImg8bit", "gtFine"))
_MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
_ADDED = ("", "_mask", "-mask", "_label", "_labels", "_gt", "_seg", "_L", "_labelIds", "_labelTrainIds")
_LISTS = ("classes.txt", "class_names.txt", "labels.txt", "names.txt")
_TABLES = ("labelmap.txt", "colours.txt", "colors.txt")


class Table(NamedTuple):
    """What the values, or the colours, of masks stand for."""

    classes: tuple[str, ...]
    values: dict[int, int] | None  # value -> class number, or 255; None: values are class numbers
    colours: dict[tuple[int, int, int], int] | None  # colour -> the same


class Masked(NamedTuple):
    """An image with its mask, absolute paths."""

    image: str
    mask: str


def find_masks(folder: str, tested: bool = False) -> dict[str, list[Masked]]:
    """Return split -> images with masks of a folder; empty where there are none.

    Looked for are images/ and masks/ (or names like these), with folders of splits inside of each or around both.
    Pascal VOC's lists in `ImageSets/Segmentation` split its images; without one of train where they are for a test.
    """
    found: dict[str, list[Masked]] = {}
    places = {"": folder} | {name: osp.join(folder, name) for name in sorted(os.listdir(folder))
                             if split_of(name) and osp.isdir(osp.join(folder, name))}
    for name, place in places.items():
        for images, masks in _PAIRS:
            if osp.isdir(osp.join(place, images)) and osp.isdir(osp.join(place, masks)):
                for split, members in _paired(osp.join(place, images), osp.join(place, masks)).items():
                    found.setdefault(split_of(name) or split, []).extend(members)
                break
    return _by_lists(osp.join(folder, "ImageSets", "Segmentation"), found, tested)


def read_table(path: str) -> Table:
    """Read a table of classes.

    Raises:
        UserError: a line is none, or two name one class, value or colour.
    """
    fix = "write a line 'name: 3' or 'name: 128,64,0' for each class"
    names: list[str] = []
    values: dict[int, int] = {}
    colours: dict[tuple[int, int, int], int] = {}
    for number, line in enumerate(read_text(path, fix, 1 << 20).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        words = [word.strip() for word in rest.split(":")[0].split(",")]
        if not colon or not name.strip() or len(words) not in (1, 3) or not all(_is_byte(word) for word in words):
            raise UserError(f"{path}, line {number}: {line.strip()[:60]!r} is no line of a table; {fix}")
        where: dict = values if len(words) == 1 else colours
        key = int(words[0]) if len(words) == 1 else tuple(map(int, words))
        if key in where:
            raise UserError(f"{path}, line {number}: {rest.strip()} is there twice; {fix}")
        where[key] = IGNORED if name.strip().lower() == "ignore" else len(names)
        names += [] if where[key] == IGNORED else [name.strip()]
    if bool(values) == bool(colours):
        raise UserError(f"{path}: has {'values and colours' if values else 'no line'}, expected one kind; {fix}")
    classes = check_names(names, path)
    if len(classes) >= IGNORED:
        raise UserError(f"{path}: {len(classes)} classes, expected fewer than {IGNORED}, for index maps have one byte")
    return Table(classes, values or None, colours or None)


def table_beside(folder: str) -> Table | None:
    """Return the table, or the names, that lie in a folder; None where there are none."""
    for name in _TABLES:
        if osp.isfile(osp.join(folder, name)):
            return read_table(osp.join(folder, name))
    for name in _LISTS:
        if osp.isfile(osp.join(folder, name)):
            return Table(read_names(osp.join(folder, name)), None, None)
    return None


def read_mask(path: str, table: Table | None) -> np.ndarray:
    """Read a mask.

    Returns:
        [H, W] uint8 class numbers, 255 for no label; without a table the values as they are.

    Raises:
        UserError: it cannot be read, has colours that no table names, values outside of the table, or is a JPEG, whose
            values are not those that were saved.
    """
    fix = "save it as a PNG of one channel with class numbers from 0 (255: no label)"
    try:
        with Image.open(io.BytesIO(read_regular(path))) as image:
            if image.format == "JPEG":
                raise UserError(f"mask {path!r} is a JPEG, which changes values at the edges; {fix}")
            if getattr(image, "n_frames", 1) > 1:
                raise UserError(f"mask {path!r} holds several images; {fix}")
            if table is not None and table.colours is not None:
                return _by_colour(np.asarray(image.convert("RGB")), table, path)
            if image.mode not in ("L", "P", "1", "I", "I;16", "I;16B"):
                raise UserError(f"mask {path!r} has colours ({image.mode}), and no table says which class each one is; "
                                "give one by tools/convert_data.py --table FILE with a line 'name: 128,64,0' for each "
                                "class")
            values = np.asarray(image).astype(np.int64)
    except (UnreadableImage, *BROKEN) as error:
        if isinstance(error, UserError):
            raise
        why = str(error) if isinstance(error, UnreadableImage) else reason(None, error)
        raise UserError(f"mask {path!r} cannot be read ({why}); save it anew") from None
    if values.min() < 0 or values.max() > IGNORED:
        raise UserError(f"mask {path!r} holds {values.max() if values.max() > IGNORED else values.min()}, expected 0 "
                        f"to {IGNORED}; {fix}")
    if table is None:
        return values.astype(np.uint8)
    known = table.values or {number: number for number in range(len(table.classes))}
    lookup = np.full(256, -1)
    lookup[IGNORED] = IGNORED
    lookup[list(known)] = list(known.values())
    found = lookup[values]
    if (found < 0).any():
        odd = int(values[found < 0].min())
        raise UserError(f"mask {path!r} holds {odd}, which is none of the {len(table.classes)} classes ("
                        f"{'the table has ' + ', '.join(map(str, known)) if table.values else 'numbered from 0'}); "
                        "correct the mask or the list of the classes")
    return found.astype(np.uint8)


def same_size(mask: np.ndarray, masked: Masked, size: Size) -> np.ndarray:
    """Return the mask as its image is shown: one of the stored image is turned with it.

    Args:
        mask: [H, W] uint8.
        masked: for the message.
        size: of the image.

    Returns:
        [height, width] uint8.

    Raises:
        UserError: it has another size than the image.
    """
    if mask.shape == (size.height, size.width):
        return mask
    if (mask.shape[1], mask.shape[0]) == size.stored:
        turning = Image.fromarray(mask)
        turning.getexif()[0x0112] = size.orientation
        return np.asarray(ImageOps.exif_transpose(turning))
    raise UserError(f"mask {masked.mask!r} has {mask.shape[1]}x{mask.shape[0]} pixels, its image {size.width}x"
                    f"{size.height}; resize it (nearest neighbour)")


def _is_byte(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 255


def _by_colour(pixels: np.ndarray, table: Table, path: str) -> np.ndarray:
    assert table.colours is not None
    codes = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    known = {(r << 16) + (g << 8) + b: label for (r, g, b), label in table.colours.items()}
    seen, inverse = np.unique(codes, return_inverse=True)
    odd = [code for code in seen.tolist() if code not in known]
    if odd:
        colour = (odd[0] >> 16, odd[0] >> 8 & 255, odd[0] & 255)
        raise UserError(f"mask {path!r} has the colour {','.join(map(str, colour))}, which the table does not name; "
                        "add it there, or save the mask without smoothing")
    return np.array([known[code] for code in seen.tolist()], dtype=np.uint8)[inverse.reshape(codes.shape)]


def _paired(images: str, masks: str) -> dict[str, list[Masked]]:
    """Pair the images below a folder with the masks of the same names below another one."""
    endings = tuple(ending.encode() for ending in IMAGE_ENDINGS)
    stems: dict[str, str] = {}
    for name in map(os.fsdecode, walk(masks).files):
        stem, ending = osp.splitext(name)
        if ending.lower() in (*_MASK_ENDINGS, ".jpg", ".jpeg"):
            other = stems.setdefault(stem, name)
            lossless = [osp.splitext(mask)[1].lower() in _MASK_ENDINGS for mask in (other, name)]
            if other != name and all(lossless):
                raise UserError(f"{osp.join(masks, other)} and {name!r} are masks of one name; remove one of them")
            stems[stem] = name if lossless[1] else other
    if not stems:
        return {}
    found: dict[str, list[Masked]] = {}
    without: list[str] = []
    twice: dict[str, str] = {}
    for name in map(os.fsdecode, (name for name in walk(images).files if name.lower().endswith(endings))):
        stem = osp.splitext(name)[0].removesuffix("_leftImg8bit").removesuffix("_sat")
        mask = next((stems[stem + added] for added in _ADDED if stem + added in stems), None)
        if mask is None:
            without.append(name)
            continue
        if mask in twice:
            raise UserError(f"{osp.join(masks, mask)}: the mask of two images, {twice[mask]!r} and {name!r}; rename or "
                            "remove one of them")
        twice[mask] = name
        split = split_of(name.split("/")[0]) if "/" in name else None
        found.setdefault(split or "train", []).append(Masked(osp.join(images, name), osp.join(masks, mask)))
    if found and without and osp.basename(images) != "JPEGImages":  # of which VOC labels a part only
        raise UserError(f"{len(without)} of {len(without) + len(twice)} images in {images!r} have no mask in "
                        f"{masks!r}, the first is {without[0]!r}; add the masks or remove the images")
    return found


def _by_lists(lists: str, found: dict[str, list[Masked]], tested: bool) -> dict[str, list[Masked]]:
    """Split by VOC's lists where there are any."""
    stems: dict[str, Masked] = {}
    twice: dict[str, Masked] = {}  # the lists cannot tell which is meant
    for masked in (masked for members in found.values() for masked in members):
        stem = osp.splitext(osp.basename(masked.mask))[0]
        if stems.setdefault(stem, masked) is not masked:
            twice[stem] = masked
    listed: dict[str, list[Masked]] = {}
    for split in SPLIT_NAMES:
        path = osp.join(lists, f"{split}.txt")
        if not found or not osp.isfile(path):
            continue
        names = [line.strip() for line in read_text(path, "write a name a line").splitlines() if line.strip()]
        absent = [name for name in names if name not in stems]
        if absent and split != "test":  # VOC's own has no masks of it
            raise UserError(f"{path}: {absent[0]!r} has no image with a mask; add them or remove the line")
        for name in (name for name in names if name in twice):
            raise UserError(f"{path}: {name!r} could be {stems[name].mask!r} or {twice[name].mask!r}; rename one of "
                            "them")
        listed[split] = [stems[name] for name in names if name in stems]
    listed = {split: members for split, members in listed.items() if members}
    return listed if "train" in listed or (tested and listed) else found
