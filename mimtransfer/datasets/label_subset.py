"""LabelSubset: a part of the labelled images of a data set of mmdet or mmseg, drawn so that every class is in it."""
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from mimtransfer.datasets.configured import dicts_in, name_of
from mimtransfer.datasets.label_order import shot_order, stratified_order
from mimtransfer.errors import UserError
from mimtransfer.registry import DATASETS


@DATASETS.register_module()
class LabelSubset:
    """Keep a share of the images of a data set, or so many that each class has `shots` objects.

    What the data set itself leaves out, such as images without boxes, is left out before. The images follow from their
    names, their labels and the seed, and a smaller subset is part of a larger one: `label_order.py`. Classes are those
    that training sees, after `metainfo`, `label_map` and `reduce_zero_label`; of index maps all are read for this, once
    in each process.

    Args:
        dataset: config of a data set of mmdet with boxes, or of mmseg with index maps.
        share: of its images, in (0, 1]; or
        shots: objects of each class in images of boxes, images of each class with index maps. All labels of an image
            are kept.
        seed: draws the subset.

    Raises:
        UserError: neither or both of share and shots, a share outside (0, 1], no shots, or a data set of another kind.
    """

    def __init__(self, dataset: dict, share: float | None = None, shots: int | None = None, seed: int = 0):
        if (share is None) == (shots is None):
            raise UserError(f"LabelSubset: got share={share}, shots={shots}, expected one of them")
        check_subset("LabelSubset", share, shots, seed)
        self.dataset = MMENGINE_DATASETS.build(dataset)
        self.share, self.shots, self.seed = share, shots, seed
        self._chosen = False
        if not dataset.get("lazy_init"):
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """Return that of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the annotations and choose, once."""
        if self._chosen:
            return
        self.dataset.full_init()
        names, counts = image_names(self.dataset), class_counts(self.dataset)
        if self.share is not None:
            chosen = stratified_order(counts, names, self.seed, max(1, round(self.share * len(names))))
        else:
            assert self.shots is not None
            chosen = shot_order(counts, names, self.seed, self.shots)
            if not len(chosen):
                raise UserError(f"LabelSubset: no image of {type(self.dataset).__name__} has a label of the classes "
                                "that it trains on; check its annotations, metainfo and label_map")
        self.dataset.get_subset_(sorted(chosen.tolist()))
        self._chosen = True
        print_log(f"{what_is_kept(self.share, self.shots)}, drawn by seed {self.seed}: {len(chosen)} of {len(names)} "
                  f"images{_absent(counts, chosen, self.metainfo['classes'])}", logger="current")

    def get_data_info(self, index: int) -> dict:
        """Return what the data set knows of an image of the subset."""
        return self.dataset.get_data_info(index)

    def get_cat_ids(self, index: int) -> list[int]:
        """Return the classes in an image of the subset, for mmdet's class-aware sampler."""
        return self.dataset.get_cat_ids(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]


def what_is_kept(share: float | None, shots: int | None) -> str:
    """Return `1 % of the labels`, or `10 shots`, as names of protocols end."""
    return f"{shots} shot{'s' * (shots != 1)}" if share is None else f"{100 * share:.6g} % of the labels"


def label_subsets(cfg: Mapping) -> list[str]:
    """Return which subsets the training data of a config are, in words; empty for whole data sets.

    Those of classification are subsets by themselves, a `fraction` or `images_per_class`.
    """
    classified = cfg.get("task") == "classification"
    share, shots = ("fraction", "images_per_class") if classified else ("share", "shots")
    nodes = dicts_in((cfg.get("train_dataloader") or {}).get("dataset"))
    return [f"{what_is_kept(node.get(share), node.get(shots))} by seed {node.get('seed', 0)}" for node in nodes
            if (classified or name_of(node) == "LabelSubset") and (node.get(share), node.get(shots)) != (None, None)]


def check_subset(where: str, share: Any, shots: Any, seed: Any) -> None:
    """Refuse what is no share, no number of shots or no seed; None is none.

    Raises:
        UserError: such a value.
    """
    if share is not None and not (isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1):
        raise UserError(f"{where}: the share of the labels is {share!r}, expected a number in (0, 1], 0.1 for 10 %")
    if shots is not None and not (isinstance(shots, int) and not isinstance(shots, bool) and shots > 0):
        raise UserError(f"{where}: the number of shots is {shots!r}, expected an integer >= 1")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"{where}: the seed of the subset is {seed!r}, expected an integer")


def image_names(dataset: BaseDataset) -> list[str]:
    """Return the names of the images below the folder of the images, with `/`, so that they are equal everywhere."""
    prefix = dataset.data_prefix.get("img_path") or dataset.data_prefix.get("img") or ""
    prefix = os.path.normpath(prefix).replace(os.sep, "/") + "/"
    paths = (os.path.normpath(dataset.get_data_info(k)["img_path"]).replace(os.sep, "/") for k in range(len(dataset)))
    return [path.removeprefix(prefix) if path.startswith(prefix) else PurePosixPath(path).name for path in paths]


def class_counts(dataset: BaseDataset) -> np.ndarray:
    """Return how many objects of each class an image has; of index maps 1 for each class with a pixel.

    Returns:
        [N, C] int32; objects that training ignores are not counted.

    Raises:
        UserError: the data set has neither boxes nor index maps.
    """
    num_classes = len(dataset.metainfo["classes"])
    infos = map(dataset.get_data_info, range(len(dataset)))  # one at a time: those of COCO hold all its outlines
    first = dataset.get_data_info(0) if len(dataset) else {}
    if "instances" in first:
        labels = [_boxes(info) for info in infos]
    elif first.get("seg_map_path"):
        labels = _maps(dataset, infos, num_classes)
    else:
        raise UserError(f"LabelSubset: {type(dataset).__name__} has neither boxes nor index maps in the images that it "
                        "trains on; expected a data set of mmdet or mmseg with labels")
    counts = np.zeros((len(labels), num_classes), dtype=np.int32)
    for row, found in zip(counts, labels):
        np.add.at(row, found, 1)
    return counts


def _boxes(info: Mapping) -> list[int]:
    return [box["bbox_label"] for box in info["instances"] if not box.get("ignore_flag")]


def _maps(dataset: BaseDataset, infos: Iterable[dict], num_classes: int) -> list[list[int]]:
    """Read index maps as training does; decoding them leaves Python free for the other threads."""
    steps = [step for step in dataset.pipeline.transforms if hasattr(step, "_load_seg_map")]
    if not steps:
        raise UserError("LabelSubset: no step of the pipeline loads index maps; expected LoadAnnotations in it")

    def read(info: dict) -> list[int]:
        pixels = np.bincount(steps[0]({**info, "seg_fields": []})["gt_seg_map"].ravel(), minlength=num_classes)
        return np.flatnonzero(pixels[:num_classes]).tolist()  # higher values are no label

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(read, infos))


def _absent(counts: np.ndarray, chosen: np.ndarray, classes: Sequence[str]) -> str:
    """Name the classes that no chosen image has, though others have."""
    gone = np.flatnonzero((counts.sum(0) > 0) & (counts[chosen].sum(0) == 0)).tolist()
    names = ", ".join(str(classes[k]) for k in gone[:5])
    return f"; without {names}{' and others' * (len(gone) > 5)}" if gone else ""
