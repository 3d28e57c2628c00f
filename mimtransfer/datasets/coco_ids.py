"""Which image and which category of a COCO json a file and a label are: what a submission to COCO names."""
from __future__ import annotations

import json
import logging
import os.path as osp
from typing import Any

from mmengine.logging import print_log

from mimtransfer.datasets.configured import classes_of
from mimtransfer.errors import UserError


def file_names(coco: dict[str, Any], kind: str) -> list[str]:
    """Return the image files as the data set of this type names them."""
    if kind == "LVISV1Dataset":
        return [im["coco_url"].replace("http://images.cocodataset.org/", "") for im in coco["images"]]
    names = [im["file_name"] for im in coco["images"]]
    if kind.startswith("LVIS"):  # names of COCO 2014, files of COCO 2017
        names = [name[-16:] if name.startswith("COCO") else name for name in names]
    return names


class CocoIds:
    """Ids of images and categories.

    Args:
        dataset: config of the data set whose classes the model predicts.
        ann_file: a COCO json; its images are known by their names, wherever they lie. None: the data set's own json;
            its images are known by their whole path, for other folders have files of the same names.

    Attributes:
        categories: id of each label, as the evaluator of mmdet counts them; None where no json is at hand.

    Raises:
        UserError: the json is no COCO json, or `ann_file` has not all classes; of the config's that is logged.
    """

    def __init__(self, dataset: dict, ann_file: str | None = None):
        self.categories: list[int] | None = None
        self._folder: str | None = None
        self._images: dict[str, tuple[int, str]] = {}  # file -> its id, its name in the json
        path = ann_file
        if path is None:
            path = osp.join(dataset.get("data_root") or "", str(dataset.get("ann_file") or ""))
            if not path.endswith(".json") or not osp.isfile(path):
                return
        kind, classes = str(dataset.get("type")).rpartition(".")[2], classes_of(dataset)
        try:
            with open(path, encoding="utf-8") as file:
                coco = json.load(file)
            names, ids = file_names(coco, kind), [im["id"] for im in coco["images"]]
            categories = [entry["id"] for entry in coco["categories"] if entry["name"] in classes]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path!r} is no COCO json with images and categories ({type(error).__name__}: "
                            f"{' '.join(str(error).split())}); give another one as --ann-file") from None
        if len(categories) != len(classes):
            says = (f"{path!r} has {len(categories)} of the config's {len(classes)} classes; give the data set's json "
                    "as --ann-file, or correct metainfo.classes")
            if ann_file is not None:
                raise UserError(says)
            print_log(f"no COCO ids: {says}", logger="current", level=logging.WARNING)  # predictions need none
            return
        if ann_file is None:
            self._folder = osp.realpath(osp.join(dataset.get("data_root") or "",
                                                 (dataset.get("data_prefix") or {}).get("img") or ""))
        self.categories = categories
        self._images = {osp.normpath(name): (i, name) for name, i in zip(names, ids)}

    def of_image(self, path: str) -> tuple[int | None, str]:
        """Return the id of an image, None where the json does not list it, and its name in the json or on the disk."""
        unknown = (None, osp.basename(path))
        if self._folder is not None:
            return self._images.get(osp.relpath(osp.realpath(path), self._folder), unknown)
        parts = osp.normpath(osp.abspath(path)).split(osp.sep)
        ends = (osp.join(*parts[k:]) for k in range(1, len(parts)))
        return next((self._images[end] for end in ends if end in self._images), unknown)
