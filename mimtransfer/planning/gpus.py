"""What GPUs can do by their makers' data sheets."""
from __future__ import annotations

import re
from typing import NamedTuple

from mimtransfer.errors import UserError, near_matches

# Words of the name that CUDA gives -> dense TFLOP/s of bfloat16 with sums in float32, and of TF32; the first that fits
# counts. NVIDIA's data sheets (figures with sparsity are halved), of RTX cards the architecture's white paper.
# GPUs before Ampere compute neither.
PEAKS = {
    "H100 PCIe": (756.0, 378.0), "H100 NVL": (835.0, 417.5), "H200 NVL": (835.5, 417.5),
    "H200": (989.4, 494.7), "H100": (989.4, 494.7),
    "GH200": (989.4, 494.7), "B200": (2250.0, 1125.0), "A100": (312.0, 156.0), "A800": (312.0, 156.0),
    "A40": (149.7, 74.8), "A10G": (70.0, 35.0), "A10": (125.0, 62.5), "L40S": (362.05, 183.0), "L40": (181.05, 90.5),
    "L4": (121.0, 60.0), "RTX 4090": (165.2, 82.6), "RTX 3090": (71.0, 35.6), "RTX A6000": (154.8, 77.4),
}  # fmt: skip


class Gpu(NamedTuple):
    """A kind of GPU."""

    name: str
    memory: float  # GiB that a process finds, as nvidia-smi tells
    bf16: float  # TFLOP/s, dense, sums in float32
    tf32: float
    source: str = "NVIDIA's data sheet, without sparsity"


GPUS = {  # by the names of `--gpu`
    "h100": Gpu("H100 SXM 80 GB", 79.6, *PEAKS["H100"]),
    "h200": Gpu("H200 SXM 141 GB", 139.8, *PEAKS["H200"]),
    "a100-40": Gpu("A100 40 GB", 39.4, *PEAKS["A100"]),
    "a100-80": Gpu("A100 80 GB", 79.2, *PEAKS["A100"]),
    "l40s": Gpu("L40S 48 GB", 44.4, *PEAKS["L40S"]),
    "rtx4090": Gpu("RTX 4090 24 GB", 23.6, *PEAKS["RTX 4090"]),
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


def peak_flops(name: str, precision: str, tflops: float | None = None) -> float | None:
    """Return the operations a second that a GPU promises, which the MFU is a share of.

    Args:
        name: of the device, as CUDA gives it.
        precision: "bf16", or "fp32", which is computed in TF32.
        tflops: of bf16, as the user knows it; TF32 is half of that.

    Returns:
        None for a device that is not known, e.g. a CPU.
    """
    given = None if tflops is None else (tflops, tflops / 2)
    # Whole words: an RTX A1000 is no A100, a GPU of a laptop or a Ti not the card of that number.
    known = (peaks for words, peaks in PEAKS.items() if re.search(rf"\b{words}\b(?! (Laptop|Ti|D)\b)", name))
    found = given or next(known, None)
    return None if found is None else found[precision != "bf16"] * 1e12
