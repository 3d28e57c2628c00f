"""How many images a step takes: batch of a process, number of processes, accumulated batches."""
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

META_KEY = "batch"  # of a checkpoint's meta
RESUMED_FROM = "resumed_from_iter"  # of a log: at this iteration of a run with another batch its step was reached


class Batch(NamedTuple):
    """What makes up the images of a step."""

    size: int  # images of one process in one iteration
    processes: int
    accumulation: int  # iterations of one step of the optimizer

    @property
    def images(self) -> int:
        """Images of one iteration, over all processes."""
        return self.size * self.processes

    @property
    def images_of_step(self) -> int:
        """Images of one step of the optimizer."""
        return self.images * self.accumulation

    def __str__(self) -> str:
        accumulated = f" x {self.accumulation} accumulated" if self.accumulation > 1 else ""
        return f"{self.size} x {self.processes} process{'es' * (self.processes > 1)}{accumulated}"


def batch_of(cfg: Mapping[str, Any], processes: int) -> Batch:
    """Return the batch of a config that trains, on `processes` processes."""
    return Batch(cfg["train_dataloader"]["batch_size"], processes, accumulation_of(cfg))


def count_processes(launcher: str) -> int:
    """Return the number of processes of a run, which on CUDA devices mmengine joins later."""
    if launcher == "none":
        return 1
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}[launcher]
    return int(os.environ.get(variable, 1))


def accumulation_of(cfg: Mapping[str, Any]) -> int:
    """Return how many iterations make a step of the optimizer."""
    return (cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)


def recorded_batch(meta: Mapping[str, Any]) -> Batch | None:
    """Return the batch that a checkpoint was trained with, from its meta.

    A checkpoint of an earlier version says it by its config and by the signature of `RecordHook`.

    Returns:
        None where the checkpoint does not say it.
    """
    from mimtransfer.checkpoints.recorded_config import read_values  # with torch, which the curves do without

    signed = meta.get(META_KEY)
    if not isinstance(signed, Mapping):
        try:
            cfg = read_values(meta["cfg"])
            signed = {**batch_of(cfg, meta["mimtransfer"]["processes"])._asdict()}
        except (KeyError, TypeError, ValueError, SyntaxError, AttributeError):
            return None
    numbers: list[Any] = [signed.get(field) for field in Batch._fields]
    if not all(type(number) is int and number > 0 for number in numbers):  # a file may say anything
        return None
    return Batch(*numbers)
