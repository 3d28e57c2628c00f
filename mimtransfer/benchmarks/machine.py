"""Which machine a benchmark ran on, and how many operations a second its GPU promises."""
from __future__ import annotations

import os
from typing import Any

import torch

from mimtransfer.results import provenance

# Dense TFLOP/s of the makers' data sheets: (part of the name, bf16, TF32). The first that fits counts.
_TFLOPS = (
    ("H100 PCIe", 756.0, 378.0), ("H100 NVL", 835.0, 417.5), ("H200", 989.0, 494.5), ("H100", 989.0, 494.5),
    ("GH200", 989.0, 494.5), ("B200", 2250.0, 1125.0), ("A100", 312.0, 156.0), ("A800", 312.0, 156.0),
    ("A40", 149.7, 74.8), ("A10G", 70.0, 35.0), ("A10", 125.0, 62.5), ("L40S", 362.0, 183.0), ("L40", 181.0, 90.5),
    ("L4", 121.0, 60.0), ("RTX 4090", 165.2, 82.6), ("RTX 3090", 71.0, 35.6), ("RTX A6000", 154.8, 77.4),
    ("V100", 125.0, 15.7), ("T4", 65.0, 8.1),
)  # fmt: skip


def describe(device: str) -> dict[str, Any]:
    """Return names and versions: `device`, `device_type`, `memory_bytes`, `threads`, `cores`, `torch`, `cuda`,
    `cudnn`, `capability`, and those of `provenance.versions`.
    """
    cuda = device.startswith("cuda")
    found: dict[str, Any] = {**provenance.device(), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    if cuda:
        properties = torch.cuda.get_device_properties(torch.device(device))
        found |= {"device": properties.name, "device_type": "cuda", "memory_bytes": properties.total_memory,
                  "capability": f"{properties.major}.{properties.minor}", "cuda": torch.version.cuda,
                  "cudnn": torch.backends.cudnn.version(), "devices": torch.cuda.device_count()}
    return {**found, "versions": provenance.versions()}


def peak_flops(name: str, precision: str, tflops: float | None = None) -> float | None:
    """Return the operations a second that a GPU promises, which the MFU is a share of.

    Args:
        name: of the device.
        precision: "bf16", or "fp32", which is computed in TF32.
        tflops: of bf16, as the user knows it; TF32 is half of that.

    Returns:
        None for a device that is not known, e.g. a CPU.
    """
    for part, bf16, tf32 in _TFLOPS if tflops is None else (("", tflops, tflops / 2),):
        if part in name:
            return (bf16 if precision == "bf16" else tf32) * 1e12
    return None
