"""Look at the class folders of a classifier: which classes, which files count, can they be decoded."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterator

from mmengine.config import Config

from mimtransfer.checks import FAIL, OK, WARN, Finding
from mimtransfer.checks.image_files import spread, unreadable_images
from mimtransfer.datasets.class_folders import class_images, words_of
from mimtransfer.datasets.class_names import class_names
from mimtransfer.datasets.configured import leaves, max_corrupt
from mimtransfer.datasets.sources.recognise import open_source
from mimtransfer.datasets.tree import printable
from mimtransfer.datasets.unreadable import UnreadableImage, decode_rgb, named_path, open_rgb
from mimtransfer.errors import UserError


def class_findings(cfg: Config, splits: tuple[str, ...], count: int | None) -> Iterator[Finding]:
    """Yield what is wrong with the data of a classification config.

    A classifier needs as many outputs as there are classes, and the same classes in every split.

    Args:
        count: images decoded in each split, spread evenly; None: all.
    """
    named: dict[str, set[str]] = {}
    seen: list[dict] = []
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        for dataset in leaves(loader.dataset) if loader else ():
            kind = str(dataset.get("type")).rpartition(".")[2]
            if kind not in ("ClassFolder", "LabelledImageSource") or dataset in seen:
                continue
            seen.append(dataset)
            if kind == "LabelledImageSource":
                yield from _source_findings(dataset, f"{split} data", count, named)
                continue
            where, root = f"{split} data", osp.expanduser(dataset.get("root") or "")
            try:
                found = class_images(root)
                classes = set(found.classes)
                if dataset.get("trained_classes") is not None:
                    classes = set(class_names(dataset["trained_classes"]))
            except UserError as error:
                what, _, fix = str(error).rpartition("; ")
                yield Finding(FAIL, f"{where}: {what}", fix)
                continue
            named[split] = classes
            if found.left_out:
                yield Finding(WARN, f"{where}: left out in {root!r}: {words_of(found.left_out)}",
                              "rename or remove what should not be passed over")
            broken, links = [], False
            for path, _ in spread(found.samples, count):
                try:
                    open_rgb(path)
                except UnreadableImage as error:
                    links = links or osp.islink(path)
                    name = named_path(path) if osp.islink(path) else printable(osp.relpath(path, root))
                    broken.append(f"{name} ({error})")
            what = "images" if links else f"images in {root!r}"  # links lie in a work dir, the user's images elsewhere
            problems = list(unreadable_images(broken, max_corrupt(dataset), what))
            yield from (problem._replace(what=f"{where}: {problem.what}") for problem in problems)
            if not problems and not found.left_out:
                yield Finding(OK, f"{where}, {root}: {len(found.samples)} images of {len(found.classes)} classes")
    for split, classes in named.items():
        if "num_classes" in cfg.model and len(classes) != cfg.model.num_classes:
            yield Finding(FAIL, f"{split} data: {len(classes)} classes, but model.num_classes is "
                          f"{cfg.model.num_classes}", "make them equal")
    first = next(iter(named), "")
    for split, classes in named.items():
        if odd := sorted(classes ^ named[first])[:5]:
            yield Finding(FAIL, f"the {first} data and the {split} data have other classes, not in both: "
                          f"{', '.join(odd)}", "rename or add folders")


def _source_findings(dataset: dict, where: str, count: int | None, named: dict[str, set[str]]) -> Iterator[Finding]:
    """Look at images of another source than class folders; its classes are added to `named`."""
    try:
        source = open_source(str(dataset.get("source")), with_classes=True, split=dataset.get("split", "train"))
        if source.labels is None:
            raise UserError("it has no classes; give it class folders, .cls members or a column `label`")
    except UserError as error:
        what, _, fix = str(error).rpartition("; ")
        yield Finding(FAIL, f"{where}, {dataset.get('source')}: {what}", fix)
        return
    named[where.split()[0]] = set(source.classes)
    broken = []
    for index in spread(range(len(source)), count):
        try:
            decode_rgb(source.read(index))
        except UnreadableImage as error:
            broken.append(f"{printable(source.name(index))} ({error})")
    problems = list(unreadable_images(broken, max_corrupt(dataset), f"images in {dataset.get('source')!r}"))
    yield from (problem._replace(what=f"{where}: {problem.what}") for problem in problems)
    if not problems:
        yield Finding(OK, f"{where}, {dataset.get('source')}: {len(source)} images of {len(source.classes)} classes")
