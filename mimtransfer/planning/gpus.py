"""What GPUs can do by their makers' data sheets."""
from __future__ import annotations

from typing import NamedTuple

from mimtransfer.errors import UserError, near_matches


class Gpu(NamedTuple):
    """A kind of GPU."""

    name: str
    memory: float  # GiB that a process finds, as nvidia-smi tells
    bf16: float  # TFLOP/s, dense, sums in float32
    tf32: float
    source: str


GPUS = {
    "h100": Gpu("H100 SXM 80 GB", 79.6, 989.4, 494.7, "NVIDIA H100 data sheet (1,979 with sparsity, halved)"),
    "h200": Gpu("H200 SXM 141 GB", 139.8, 989.4, 494.7, "NVIDIA H200 data sheet (1,979 with sparsity, halved)"),
    "a100-40": Gpu("A100 40 GB", 39.4, 312.0, 156.0, "NVIDIA A100 data sheet"),
    "a100-80": Gpu("A100 80 GB", 79.2, 312.0, 156.0, "NVIDIA A100 data sheet"),
    "l40s": Gpu("L40S 48 GB", 44.4, 362.05, 183.0, "NVIDIA L40S data sheet (733 with sparsity, halved)"),
    "rtx4090": Gpu("RTX 4090 24 GB", 23.6, 165.2, 82.6, "NVIDIA Ada GPU architecture, appendix A"),
}


def find_gpu(name: str | None, memory: float | None, tflops: float | None) -> Gpu:
    """Return a GPU by its name, or one that is described.

    Args:
        memory: GiB; of a named GPU, in place of its own.
        tflops: bfloat16; of a named GPU, in place of its own. TF32 is taken for half of it.

    Raises:
        UserError: there is no such name, or half a description.
    """
    if name is None and (memory is None) != (tflops is None):
        raise UserError("--memory and --tflops describe a GPU together: give both, or --gpu NAME")
    if name is None and memory is None:
        name = "h100"
    if name is not None and name not in GPUS:
        hint = near_matches(name, GPUS)
        hint = f"; {hint}" if hint else ""
        raise UserError(f"--gpu {name}: unknown{hint}; known: {', '.join(GPUS)}; or give --memory GB and --tflops T")
    gpu = GPUS[name] if name is not None else Gpu("GPU as given", 0.0, 0.0, 0.0, "as given")
    if memory is not None:
        gpu = gpu._replace(memory=memory)
    return gpu if tflops is None else gpu._replace(bf16=tflops, tf32=tflops / 2, source="as given")
