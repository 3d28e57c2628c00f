"""One folder of images for each class, as ImageNet's `train` has it: which files count."""
import os
from collections import Counter
from typing import NamedTuple

from mimtransfer.datasets.tree import left_out_images, printable, some, walk
from mimtransfer.errors import UserError, near_files

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's


class ClassImages(NamedTuple):
    """The images of class folders, in the order of torchvision's `ImageFolder`."""

    classes: list[str]  # names of the folders, sorted
    samples: list[tuple[str, int]]  # path and number of the class
    left_out: list[str]  # what is not read, and why


def class_images(root: str) -> ClassImages:
    """List the images of class folders.

    Left out are hidden entries, folders reached a second time, what is no regular file, and files of other endings.

    Raises:
        UserError: no such folder, no class folder in it, or one without images.
    """
    if not os.path.isdir(root):
        raise UserError(f"ClassFolder: folder {root!r} does not exist{near_files(root.rstrip('/'))}; set the data "
                        "set's root to a folder with one folder of images for each class")
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        classes = [entry.name for entry in entries if not entry.name.startswith(".") and os.path.isdir(entry.path)]
        tree = walk(root)
    except OSError as error:
        raise UserError(f"ClassFolder: folder {root!r} cannot be read ({error.strerror}); check its rights") from None
    numbers = {os.fsencode(name): number for number, name in enumerate(classes)}
    endings = tuple(ending.encode() for ending in ENDINGS)
    samples: list[tuple[str, int]] = []
    beside: list[str] = []
    others: Counter[str] = Counter()
    for path in tree.files:
        name, slash, _ = path.partition(b"/")
        if not path.lower().endswith(endings):
            others[os.path.splitext(printable(path))[1] or printable(path)] += 1
        elif slash:
            samples.append((os.path.join(root, os.fsdecode(path)), numbers[name]))
        else:
            beside.append(printable(path))
    filled = {number for _, number in samples}
    empty = [name for number, name in enumerate(classes) if number not in filled]
    if empty or not classes:
        what = f"no image in the class folder {empty[0]!r}" if empty else "no class folder"
        raise UserError(f"ClassFolder: {what} in {root!r}; expected one folder of images for each class, and images "
                        f"that end in {' '.join(ENDINGS)}")
    samples.sort(key=lambda sample: (sample[1], *os.path.split(sample[0])))  # torchvision's order
    left_out = left_out_images(tree, ENDINGS)
    left_out += [f"{name} (beside the class folders)" for name in beside]
    left_out += [f"{number} *{kind} (no image's ending)" for kind, number in sorted(others.items())]
    return ClassImages(classes, samples, left_out)


def words_of(left_out: list[str]) -> str:
    """Word what is left out in one line."""
    return some(left_out, 5)
