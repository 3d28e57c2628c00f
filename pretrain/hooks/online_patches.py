"""Patch k-NN while pretraining: what `PatchKNNLoop` measures on a checkpoint, from index maps in two folders each.

Pretraining never imports mmseg, so data sets are read by `IndexMapFolder`; the config that names them is one of patch
k-NN for tools/test.py.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.cli.launch import load_config
from mimtransfer.datasets.configured import name_of
from mimtransfer.datasets.index_maps import IGNORED, IndexMapFolder
from mimtransfer.datasets.sampler import sample_seed
from mimtransfer.errors import UserError
from mimtransfer.evaluation.probing.features import read_features
from mimtransfer.evaluation.probing.knn import check_temperature, knn_votes
from mimtransfer.evaluation.probing.patches import classes_of_pixels, labelled_patches, patch_labels
from mimtransfer.training.loading import cores_of_process

# Images [1, 3, H, W] uint8, padded height and width -> last map [1, D, h, w].
Encode = Callable[[Tensor, tuple[int, int]], Tensor]
# Data sets of mmseg whose files end in .jpg and .png and whose classes need not be known.
_READABLE = ("BaseSegDataset", "ADE20KDataset")
_STEPS = ("LoadImageFromFile", "Resize", "LoadAnnotations", "PackSegInputs")  # labels keep the size of the file


class OnlinePatches:
    """Segment test images by the nearest labelled patches of a memory.

    Args:
        memory, test: arguments of `IndexMapFolder`.
        k, temperature: of the votes.
        patches_per_image: so many labelled patches of each image of the memory, drawn by the run's seed; None: all.
        divisor: images are padded below and on the right to multiples of so many pixels.
        num_workers: that read images.

    Raises:
        UserError: a value out of its range, or data that cannot be read.
    """

    def __init__(self, memory: dict, test: dict, k: int = 20, temperature: float = 0.07,
                 patches_per_image: int | None = None, divisor: int = 1, num_workers: int = 0):
        for name, value in (("k", k), ("patches_per_image", patches_per_image), ("divisor", divisor)):
            if not (type(value) is int and value > 0) and not (name == "patches_per_image" and value is None):
                raise UserError(f"OnlineEvaluationHook: got patches.{name}={value!r}, expected an integer above 0")
        check_temperature(temperature, "OnlineEvaluationHook: patches")  # not when half of the training is done
        self.memory, self.test = IndexMapFolder(**memory), IndexMapFolder(**test)
        self.k, self.temperature, self.patches_per_image = k, temperature, patches_per_image
        self.divisor, self.num_workers = divisor, num_workers

    def pixels(self) -> int:
        """Return the pixels of all images, padding included, as if all were as large as the first."""
        height, width = self._padded(self.memory[0].image)
        return (len(self.memory) + len(self.test)) * height * width

    def check(self, encode: Encode) -> None:
        """Encode an image, and count labelled patches. Raises: UserError: patches are cut, or fewer than k."""
        map_, padded = self._map(encode, self.memory[0].image)
        cell = padded[0] // map_.shape[1], padded[1] // map_.shape[2]
        found = 0
        for item in (self.memory[place] for place in range(len(self.memory))):
            padded = self._padded(item.image)
            grid = padded[0] // cell[0], padded[1] // cell[1]
            labels = patch_labels(item.labels, _size(item.image), padded, grid)
            found += len(labels[labels != IGNORED][: self.patches_per_image])
            if found >= self.k:
                return
        raise UserError(f"OnlineEvaluationHook: got patches.k={self.k} and {found} labelled patches, expected 1 <= k "
                        "<= that")

    @torch.no_grad()
    def miou(self, encode: Encode, seed: int) -> float | None:
        """Return the mean IoU of the test images, in points; None where features are not finite.

        Args:
            encode: see `Encode`.
            seed: of the run.
        """
        rank, world_size = get_dist_info()
        places = iter(range(rank, len(self.memory), world_size))

        def labelled(item) -> tuple[Tensor, Tensor]:
            map_, padded = self._map(encode, item.image)
            return labelled_patches(map_, item.labels.to(map_.device), _size(item.image), padded,
                                    sample_seed(seed, 0, next(places)), self.patches_per_image)  # as `PatchLoop`

        memory, labels = read_features(self._items(self.memory), labelled)
        memory = F.normalize(memory, dim=1)
        areas = torch.zeros(3, IGNORED, dtype=torch.int64, device=memory.device)  # hit, guessed, true
        finite = memory.isfinite().all().float()
        for item in self._items(self.test):
            map_, padded = self._map(encode, item.image)
            finite *= map_.isfinite().all()
            votes = knn_votes(F.normalize(map_.flatten(1).T, dim=1), memory, labels, int(labels.max()) + 1, self.k,
                              self.temperature)
            areas += self._areas(votes / votes.sum(1, keepdim=True), _size(map_), padded, item)
        all_reduce(areas)
        all_reduce(finite, "min")
        hit, guessed, true = areas.double()
        iou = hit / (guessed + true - hit)  # nan: neither there nor predicted, does not count
        return 100 * float(iou.nanmean()) if finite else None

    def _areas(self, shares: Tensor, grid: tuple[int, int], padded: tuple[int, int], item) -> Tensor:
        """Return [3, 255] pixels of each class: hit, guessed and true."""
        guess = classes_of_pixels(shares, grid, padded, _size(item.image), _size(item.labels))[0]
        truth = item.labels.to(guess.device)
        guess, truth = guess[truth != IGNORED], truth[truth != IGNORED]
        return torch.stack([torch.bincount(part, minlength=IGNORED) for part in (guess[guess == truth], guess, truth)])

    def _items(self, images: IndexMapFolder) -> DataLoader:
        """Return a loader of this process's share, with a generator of its own."""
        rank, world_size = get_dist_info()
        return DataLoader(images, batch_size=None, sampler=range(rank, len(images), world_size),
                          num_workers=min(self.num_workers, cores_of_process(), len(images)),
                          generator=torch.Generator())

    def _padded(self, image: Tensor) -> tuple[int, int]:
        height, width = (-(-side // self.divisor) * self.divisor for side in _size(image))
        return height, width

    def _map(self, encode: Encode, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the last map [D, h, w] of an image, and the padded height and width."""
        padded = self._padded(image)
        map_ = encode(image[None], padded)[0]
        if any(side % cells for side, cells in zip(padded, map_.shape[1:])):
            raise UserError(f"OnlineEvaluationHook: patches: images are padded to {padded[0]} x {padded[1]} pixels, no "
                            f"multiple of the encoder's cells ({map_.shape[1]} x {map_.shape[2]}); set patches.divisor "
                            "to the side of a patch")
        return map_, padded


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def patches_of(path: str) -> dict[str, Any]:
    """Return arguments of `OnlinePatches` from a config of patch k-NN.

    Raises:
        UserError: another kind of config, or data that only mmseg reads.
    """
    cfg = load_config(path, [])
    loop: Mapping[str, Any] = cfg.get("test_cfg") or {}
    if name_of(loop) != "PatchKNNLoop":
        raise UserError(f"online.patches={path!r}: expected a config of patch k-NN, with test_cfg of type "
                        f"PatchKNNLoop, got {loop.get('type')!r}")
    found = {key: loop[key] for key in ("k", "temperature", "patches_per_image") if key in loop}
    loaders = loop["memory_dataloader"], cfg.test_dataloader
    memory, test = (_folder(loader["dataset"], path) for loader in loaders)
    preprocessor = cfg.model.get("data_preprocessor") or {}
    padding = preprocessor.get("test_cfg") or {}
    if set(padding) - {"size_divisor"} or preprocessor.get("pad_val"):
        raise UserError(f"online.patches={path!r}: expected images that are padded by zeros to multiples of "
                        "model.data_preprocessor.test_cfg.size_divisor, and nothing else in there (pad_val, size)")
    divisor = padding.get("size_divisor", 1)
    return dict(memory=memory, test=test, divisor=divisor, num_workers=loaders[0].get("num_workers", 0), **found)


def _folder(dataset: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return arguments of `IndexMapFolder` for a data set of mmseg.

    Raises:
        UserError: it is read in a way that `IndexMapFolder` does not know.
    """
    kind, steps = name_of(dataset), list(dataset.get("pipeline") or ())
    names = [name_of(step) for step in steps]
    resize = steps[1] if "Resize" in names[1:2] else None
    expected = ["LoadImageFromFile", *(["Resize"] if resize else []), "LoadAnnotations", "PackSegInputs"]
    # Of ADE20K's classes a part, or another order, gives the labels other numbers.
    renamed = kind == "ADE20KDataset" and "classes" in (dataset.get("metainfo") or {})
    if (kind not in _READABLE or names != expected or renamed or dataset.get("backend_args")
            or (resize and (set(resize) - {"_scope_"} != {"type", "scale", "keep_ratio"} or not resize["keep_ratio"]))):
        raise UserError(f"online.patches={path!r}: expected files of type {' or '.join(_READABLE)} (with its own "
                        f"classes) by {', '.join(_STEPS)}, of which Resize(scale=..., keep_ratio=True) may be left "
                        f"out, got {dataset.get('type')} by {', '.join(names)}")
    root, prefix = dataset.get("data_root") or "", dataset.get("data_prefix") or {}
    listed = os.path.join(root, dataset["ann_file"]) if dataset.get("ann_file") else None
    reduce = steps[-2].get("reduce_zero_label")
    reduce = dataset.get("reduce_zero_label", kind == "ADE20KDataset") if reduce is None else reduce
    return dict(images=os.path.join(root, prefix.get("img_path") or ""),
                maps=os.path.join(root, prefix.get("seg_map_path") or ""), listed=listed,
                image_ending=dataset.get("img_suffix", ".jpg"), map_ending=dataset.get("seg_map_suffix", ".png"),
                scale=resize and resize["scale"], reduce_zero_label=reduce, indices=dataset.get("indices"))
