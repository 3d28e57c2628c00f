"""Find class folders for classification; a single set is split into folders of links to its images."""
from __future__ import annotations

import os
import os.path as osp
from contextlib import suppress
from pathlib import PurePath

import numpy as np

from mimtransfer.datasets.class_folders import class_images
from mimtransfer.errors import UserError
from mimtransfer.own_data.converted import OwnData, Split, begin_manifest
from mimtransfer.own_data.found import IMAGE_ENDINGS, split_of
from mimtransfer.own_data.names import check_names
from mimtransfer.own_data.splits import below, check_apart, said, validation_images


def find_class_folders(folder: str) -> dict[str, str]:
    """Return split -> folder of class folders; of a single set train alone; empty where there are no classes."""
    inside = {name: osp.join(folder, name) for name in sorted(os.listdir(folder))
              if osp.isdir(osp.join(folder, name)) and not name.startswith(".")}
    splits = {split: path for name, path in inside.items() if (split := split_of(name)) and _has_classes(path)}
    if "train" in splits:
        return splits
    return {"train": folder} if _has_classes(folder) else {}


def only_class(folder: str) -> str | None:
    """Return the name of the class folder where there is a single one, also in a folder of a split; None otherwise."""
    names = _filled(folder)
    parts = [osp.join(folder, name) for name in names if split_of(name)]
    names = sorted({name for part in parts for name in _filled(part)}) if parts else names
    return names[0] if len(names) == 1 else None


def write_class_folders(found: dict[str, str], source: str, out: str, share: float, seed: int) -> OwnData:
    """Point to folders that are split already; of a single set make `folders/{train,val}` with links to its images.

    Raises:
        UserError: a class folder is empty, the splits have other classes, or a class is too small to be in both.
    """
    read = {split: class_images(path) for split, path in found.items()}
    first = next(iter(found)) if "train" not in found else "train"
    classes = check_names(read[first].classes, found[first])
    for split, images in read.items():
        odd = sorted(set(images.classes) ^ set(classes))
        if odd:
            raise UserError(f"{found[split]}: the class {odd[0]!r} is not in both of {split} and train; add its folder "
                            "or remove it")
    check_apart({split: (path for path, _ in images.samples) for split, images in read.items()}, source)
    splits = {split: Split(found[split], osp.abspath(found[split]), len(images.samples))
              for split, images in read.items()}
    if "val" not in splits and "test" in splits:
        splits["val"] = splits["test"]
    split_by = "given"
    if "val" not in splits:
        samples = read["train"].samples
        counts = np.zeros((len(samples), len(classes)), dtype=np.int32)
        counts[np.arange(len(samples)), [label for _, label in samples]] = 1
        names = [below(path, found["train"]) for path, _ in samples]
        chosen = validation_images(counts, names, share, seed)
        absent = [classes[label] for label in np.flatnonzero(counts[sorted(chosen)].sum(0) == 0)]
        if absent:
            number = counts[:, classes.index(absent[0])].sum()
            raise UserError(f"{source}: the class {absent[0]!r} has {number} images, too few for its share of val; add "
                            "images, set a larger share by tools/convert_data.py --val-share, or remove the class")
        wanted = {osp.join("folders", "val" if k in chosen else "train", name): path
                  for k, (name, (path, _)) in enumerate(zip(names, samples))}
        begin_manifest(out, source)
        _link(wanted, out)
        splits = {split: Split(found["train"], f"folders/{split}", number) for split, number in
                  (("train", len(samples) - len(chosen)), ("val", len(chosen)))}
        split_by = said(share, seed)
    return OwnData("classification", "folders", source, out, classes, False, split_by, splits)


def _link(wanted: dict[str, str], out: str) -> None:
    """Make links, and remove those of an earlier split, or to another place. Several processes of a run may do it."""
    needed = {str(folder) for name in wanted for folder in PurePath(name).parents}
    for folder, _, names in os.walk(osp.join(out, "folders"), topdown=False):
        for path in (osp.join(folder, name) for name in names):
            with suppress(FileNotFoundError):
                if osp.islink(path) and os.readlink(path) != wanted.get(osp.relpath(path, out)):
                    os.unlink(path)
        if osp.relpath(folder, out) not in needed:  # an empty one would be a class
            with suppress(OSError):
                os.rmdir(folder)
    for name, path in wanted.items():
        os.makedirs(osp.join(out, osp.dirname(name)), exist_ok=True)
        with suppress(FileExistsError):
            os.symlink(path, osp.join(out, name))


def _has_classes(folder: str) -> bool:
    """Say whether a folder has two class folders or more that hold images, and none beside them."""
    filled = _filled(folder)
    return len(filled) >= 2 and not any(split_of(name) for name in filled)


def _filled(folder: str) -> list[str]:
    """Return the names of the folders inside that hold images; none where images lie beside them."""
    with os.scandir(folder) as entries:
        listed = [entry for entry in entries if not entry.name.startswith(".")]
    if any(entry.is_file() and entry.name.lower().endswith(IMAGE_ENDINGS) for entry in listed):
        return []
    return [entry.name for entry in listed if entry.is_dir() and any(
        name.lower().endswith(IMAGE_ENDINGS) for _, _, names in os.walk(entry.path) for name in names)]
