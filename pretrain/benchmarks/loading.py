"""Batches through the real loader: made-up pictures on the disk, a config's transform, its workers."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from pretrain.runner import register_all


def write_pictures(folder: Path, number: int, size: tuple[int, int]) -> None:
    """Write JPEG files of smooth colours with noise, of (height, width) pixels: about as long to decode as photos."""
    folder.mkdir(parents=True, exist_ok=True)
    state = np.random.RandomState(0)
    for i in range(number):
        coarse = Image.fromarray(state.randint(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + state.normal(0, 12, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.jpg", quality=90)


def build_loader(
    cfg: Config, folder: Path, batch_size: int, workers: int | None = None, augment: str = "host"
) -> DataLoader:
    """Return the loader of a folder's batches as the training gets them.

    Args:
        cfg: of a pretraining; its loader and transform are taken.
        folder: with at least `batch_size` pictures.
        batch_size: of a batch.
        workers: processes that read; None: those of the config, at most one for each core.
        augment: host, or device: where crops are resized and flipped.
    """
    register_all()
    loader = cfg.train_dataloader.to_dict()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    loader["batch_size"] = batch_size
    loader["num_workers"] = min(loader.get("num_workers", 1), cores) if workers is None else workers
    loader["persistent_workers"] = loader["num_workers"] > 0
    transform = loader["dataset"]["transform"]
    loader["dataset"] = dict(type="ImageFolder", root=str(folder), transform=transform, augment=augment)
    return Runner.build_dataloader(loader, seed=0)


def endless_batches(loader: DataLoader) -> Iterator[dict[str, Any]]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader
