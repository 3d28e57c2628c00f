"""Names of classes in the order of a classifier's outputs, and those of them that a data set has."""
import importlib.resources
from collections.abc import Sequence

from timm.data import ImageNetInfo

from mimtransfer.errors import UserError

# ImageNet-A (arXiv 1907.07174) and ImageNet-R (arXiv 2006.16241) have 200 classes each; the lists come with timm.
_OF_TIMM = {"imagenet-a": "imagenet_a_synsets.txt", "imagenet-r": "imagenet_r_synsets.txt"}


def class_names(names: str | Sequence[str]) -> list[str]:
    """Return names of classes, sorted.

    Args:
        names: the names themselves, or 'imagenet-1k', 'imagenet-a' or 'imagenet-r' for WordNet ids.

    Raises:
        UserError: another word.
    """
    if not isinstance(names, str):
        return sorted(names)
    if names == "imagenet-1k":
        return sorted(ImageNetInfo("imagenet-1k").label_names())
    if names not in _OF_TIMM:
        raise UserError(f"ClassFolder: got the classes of {names!r}, expected their names or one of imagenet-1k, "
                        f"{', '.join(_OF_TIMM)}")
    file = importlib.resources.files("timm.data") / "_info" / _OF_TIMM[names]
    return sorted(file.read_text(encoding="utf-8").split())


def check_folders(folders: Sequence[str], expected: Sequence[str], root: str) -> None:
    """Refuse class folders that are not exactly those that are expected: with fewer classes the task is easier."""
    if set(folders) != set(expected):
        odd = sorted(set(folders) ^ set(expected))
        raise UserError(f"ClassFolder: {root!r} has {len(folders)} class folders, expected {len(expected)}; "
                        f"{len(odd)} are in one and not in the other: {', '.join(odd[:5])}; unpack the data set again")


def numbers_of(folders: Sequence[str], trained: Sequence[str], root: str) -> list[int]:
    """Return the number among the trained classes of each folder."""
    numbers = {name: number for number, name in enumerate(trained)}
    unknown = [name for name in folders if name not in numbers]
    if unknown:
        raise UserError(f"ClassFolder: {root!r} has the class {unknown[0]!r}, which is not one of the "
                        f"{len(trained)} trained classes; check root and trained_classes")
    return [numbers[name] for name in folders]
