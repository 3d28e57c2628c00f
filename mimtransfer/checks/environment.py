"""Look at versions, operators, devices and data before a run, and say how to fix what is wrong."""
from __future__ import annotations

import importlib
import importlib.metadata as metadata
import os
import os.path as osp
import platform
import shutil
import sys
from collections.abc import Callable, Iterator

from mimtransfer.checks import FAIL, OK, WARN, Finding

# Package on the index, module, oldest version that works, first that does not; as in setup.cfg.
_PACKAGES = (
    ("torch", "torch", "2.4", None),
    ("torchvision", "torchvision", "0.19", None),
    ("timm", "timm", "1.0.31", "1.1"),
    ("numpy", "numpy", "1.26", None),
    ("mmengine", "mmengine", "0.10.7", "0.11"),
    ("mmdet", "mmdet", "3.3", "3.4"),
    ("mmsegmentation", "mmseg", "1.2.2", "1.3"),
    ("pycocotools", "pycocotools", "2.0.8", None),
    ("setuptools", "pkg_resources", "69", "82"),
)
_FORKS = ("onedl-mmengine", "onedl-mmdetection", "onedl-mmsegmentation", "onedl-mmcv")


def check_versions() -> Iterator[Finding]:
    """Yield one finding for Python and for each package: its version, and whether it can be imported."""
    if (3, 10) <= sys.version_info < (3, 14):
        yield Finding(OK, f"python {platform.python_version()}")
    else:
        yield Finding(FAIL, f"python {platform.python_version()}, expected 3.10 to 3.13",
                      "make an environment with another one: make setup PYTHON=python3.12")
    for package, module, low, high in _PACKAGES:
        yield check_package(package, module, low, high)
    yield _mmcv()
    forks = [name for name in _FORKS if _version(name)]
    if forks and any(_version(name) for name in ("mmcv", "mmcv-lite", "mmdet", "mmengine")):
        yield Finding(WARN, f"{', '.join(forks)} beside OpenMMLab's own packages: both install the same modules",
                      "keep one family in an environment")


def check_package(package: str, module: str, low: str, high: str | None) -> Finding:
    """Say whether a package is there, of a version in [low, high), and imports."""
    version = _version(package)
    wanted = f"'{package}>={low}{f',<{high}' if high else ''}'"
    if version is None:
        return Finding(FAIL, f"{package} is not installed", f"pip install {wanted}")
    numbers = _numbers(version)
    if numbers < _numbers(low) or (high and numbers >= _numbers(high)):
        return Finding(FAIL, f"{package} {version}, expected >= {low}{f' and < {high}' if high else ''}",
                       f"pip install {wanted}")
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken package raises is the finding
        return Finding(FAIL, f"{package} {version} is installed but does not import: {_line(error)}",
                       f"pip install --force-reinstall {wanted}")
    return Finding(OK, f"{package} {version}")


def _mmcv() -> Finding:
    installed = {name: version for name in ("mmcv", "mmcv-lite") if (version := _version(name))}
    names = " and ".join(f"{name} {version}" for name, version in installed.items())
    if not installed:
        return Finding(FAIL, "neither mmcv nor mmcv-lite is installed", "pip install 'mmcv-lite>=2.1,<2.2'")
    if len(installed) == 2:
        return Finding(FAIL, f"{names}: each overwrites the other's files",
                       "pip uninstall mmcv mmcv-lite, then pip install 'mmcv-lite>=2.1,<2.2'")
    version = next(iter(installed.values()))
    if not (2, 1) <= _numbers(version) < (2, 2):
        return Finding(FAIL, f"{names}: mmdet 3.3 and mmsegmentation 1.2 accept 2.1 only",
                       "pip uninstall mmcv, then pip install 'mmcv-lite>=2.1,<2.2'; no compiled operators are needed")
    return Finding(OK, names)


def check_operators(devices: list[str]) -> Iterator[Finding]:
    """Run the operators that detectors need on each device, against plain arithmetic."""
    import torch

    try:
        source = importlib.import_module("mmcv._ext").__file__
    except Exception as error:
        yield Finding(FAIL, f"mmcv's operators do not load: {_line(error)}",
                      "mmcv was built for another torch: pip uninstall mmcv, then pip install 'mmcv-lite>=2.1,<2.2'")
        return
    compiled = str(source).endswith((".so", ".pyd"))
    yield Finding(OK, f"operators: {'compiled mmcv' if compiled else 'stand-in on torchvision (nothing compiled)'}")
    for device in devices:
        for name, operator in _OPERATORS.items():
            try:
                right = operator(torch.device(device))
            except Exception as error:
                yield Finding(FAIL, f"{name} on {device}: {_line(error)}",
                              "torch and torchvision must be built for the same version and CUDA: reinstall both "
                              "from one index" if not compiled else "rebuild mmcv, or use mmcv-lite")
                continue
            if right:
                yield Finding(OK, f"{name} on {device}")
            else:
                yield Finding(FAIL, f"{name} on {device} computes something else", "reinstall torch and torchvision")


def _nms(device) -> bool:
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.7], device=device), 0.5)[1]
    return kept.tolist() == [1, 2]


def _roi_align(device) -> bool:
    import torch
    from mmcv.ops import RoIAlign

    # The mean of a ramp over a cell is its middle.
    ramp = torch.arange(16.0, device=device).expand(1, 1, 16, 16)
    out = RoIAlign(2, 1.0, 2, aligned=True)(ramp, torch.tensor([[0, 2.0, 2, 10, 10]], device=device))
    return torch.allclose(out[0, 0, 0].cpu(), torch.tensor([3.5, 7.5]), atol=1e-4)


def _focal_loss(device) -> bool:
    import torch
    from mmcv.ops import sigmoid_focal_loss

    loss = sigmoid_focal_loss(torch.zeros(1, 1, device=device), torch.zeros(1, dtype=torch.long, device=device), 2.0,
                              0.25, None, "none")
    return abs(float(loss) - 0.25 * 0.25 * 0.6931472) < 1e-5


def _deformable_attention(device) -> bool:
    import torch
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    # One level, one point in the middle of four pixels: their mean.
    value = torch.tensor([1.0, 2, 3, 6], device=device).view(1, 4, 1, 1)
    shapes, start = torch.tensor([[2, 2]], device=device), torch.tensor([0], device=device)
    place = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
    out = MultiScaleDeformableAttnFunction.apply(value, shapes, start, place, torch.ones_like(place[..., 0]), 1)
    return abs(float(out) - 3) < 1e-5


_OPERATORS: dict[str, Callable[..., bool]] = {
    "nms": _nms, "roi_align": _roi_align, "sigmoid_focal_loss": _focal_loss,
    "ms_deform_attn": _deformable_attention,
}


def check_devices() -> Iterator[Finding]:
    """Yield what torch sees of GPUs, and memory that data loading needs."""
    import torch

    built = torch.version.cuda or torch.version.hip
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            arch = f"sm_{properties.major}{properties.minor}"
            text = f"cuda:{i} {properties.name}, {properties.total_memory / 2**30:.0f} GiB, {arch}"
            # A binary for a capability runs on later ones of the same major number.
            usable = any(a.startswith("sm_") and int(a[3:-1]) == properties.major and int(a[-1]) <= properties.minor
                         for a in torch.cuda.get_arch_list() if a[3:].isdigit())
            if torch.version.hip is None and not usable and "compute" not in str(torch.cuda.get_arch_list()):
                yield Finding(FAIL, f"{text}: this torch has no code for it", "install torch from a newer CUDA's index")
            elif torch.version.hip is None and properties.major < 8:
                yield Finding(WARN, f"{text}: no bf16", "--amp then is fp16 with loss scaling, which is less stable")
            else:
                yield Finding(OK, text)
    elif built:
        yield Finding(WARN, f"torch is built for CUDA {built} but sees no GPU",
                      "nvidia-smi should list it; a driver older than the CUDA of torch hides it: update the driver or "
                      "install torch for an older CUDA")
    else:
        yield Finding(WARN, "this torch is built for the CPU", "for GPUs: pip install torch torchvision --index-url "
                      "https://download.pytorch.org/whl/cu126")
    if osp.isdir("/dev/shm"):
        free = shutil.disk_usage("/dev/shm").free / 2**30
        if free < 1:
            yield Finding(WARN, f"/dev/shm has {free:.2f} GiB free: loader workers may die with 'bus error'",
                          "docker run --shm-size=8g, or train_dataloader.num_workers=0")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(OK, f"{cores} CPU cores for this process")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "2.11.0+cpu" -> (2, 11, 0)."""
    parts = []
    for part in version.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
