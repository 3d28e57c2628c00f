"""How fast batches come: worker processes that the machine has cores for, memory that copies without waiting."""
from __future__ import annotations

import os
from typing import Any

from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn


def set_loading(cfg: Config) -> None:
    """Fit the loaders of a run to the machine; no result depends on it, and no fingerprint holds it.

    Workers are at most the cores of a process, in runs whose augmentation is drawn by image (pretraining and
    classification; in mmdet's and mmseg's it depends on the worker). On CUDA, batches are pinned unless the config says
    otherwise.
    """
    cores, capped = cores_of_process(), []
    for name, loader in cfg.items():
        if not name.endswith("_dataloader") or not isinstance(loader, dict):
            continue
        workers = loader.get("num_workers")
        if isinstance(workers, int) and workers > cores and cfg.get("default_scope") == "mimtransfer":
            loader["num_workers"] = cores
            capped.append(f"{name} {workers} -> {cores}")
        if is_cuda_available():
            loader.setdefault("pin_memory", True)
    if capped:
        print_log(f"Loader workers are at most the {cores} cores of a process: {', '.join(capped)}", logger="current")


def cores_of_process() -> int:
    """Return how many cores each process of a run on this machine may use, 1 or more."""
    own = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if own.isdigit() and int(own) > 0:
        return int(own)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or "1"
    return max(1, cores // max(1, int(here) if here.isdigit() else 1))


def copy_without_waiting(model: nn.Module) -> None:
    """Let the preprocessor of a model on CUDA copy batches while the host goes on; pinned ones are, others are safe."""
    preprocessor: Any = getattr(model.module if is_model_wrapper(model) else model, "data_preprocessor", None)
    if is_cuda_available() and hasattr(preprocessor, "_non_blocking"):
        preprocessor._non_blocking = True
