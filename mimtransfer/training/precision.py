"""Precision and memory policy: the one place that decides what a GPU may round, and how its memory is laid out.

| what | where it holds |
|---|---|
| fp32 matrix products in TF32 | CUDA; not for codes, clusters and neighbours (`full_fp32`) |
| bf16 autocast | `--amp`; fp16 with loss scaling on GPUs before Ampere |
| cuDNN benchmark | the configs' `env_cfg`: tasks whose images have one size, so not detection |
| channels_last | convolutional backbones on CUDA (`backbones/cnn.py`), the dVAE tokenizer |
| fused optimizer | CUDA, unless the config says `fused` or `foreach` |
| freed memory stays with the process | where no CUDA is (`host_memory.py`) |
| gradients in the buckets of DDP | every run of several processes; `static_graph` only where the config says it |

Nothing here changes a number on the CPU. What was in force goes into the record and the log (`in_force`).
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.model import is_model_wrapper
from torch import nn

from mimtransfer.training.host_memory import keep_freed_memory

# Those of torch whose fused kernels compute what the others do.
_FUSED = ("Adam", "AdamW", "SGD", "Adagrad")


def set_amp(cfg: Config, amp: bool) -> None:
    """Switch bf16 autocast on. A GPU without bf16 gets mmengine's fp16 with loss scaling."""
    if not amp:
        return
    if cfg.get("optim_wrapper") is None:  # nothing is trained
        cfg.test_cfg.amp = True
        return
    if is_cuda_available() and _before_ampere():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.pop("loss_scale", None)
        cfg.optim_wrapper.pop("dtype", None)
        cfg.optim_wrapper.type = "mimtransfer.Bf16OptimWrapper"


def set_precision(cfg: Config) -> None:
    """Put the policy in force in this process and into a config whose launcher is set.

    What the config itself says stays: `optimizer.fused`, `optimizer.foreach`, each key of `model_wrapper_cfg`.
    """
    allow_tf32()
    if not is_cuda_available():
        keep_freed_memory()
    wrapper = cfg.get("optim_wrapper") or {}
    if is_cuda_available() and isinstance(wrapper.get("optimizer"), dict):
        fuse(wrapper["optimizer"])
    if cfg.get("launcher", "none") != "none":
        share_gradients(cfg)


def allow_tf32() -> None:
    """Let CUDA round the inputs of fp32 matrix products and convolutions to 10 bits, where a GPU is that can."""
    if is_cuda_available() and not _before_ampere():
        _set_tf32(True, True)


def _before_ampere() -> bool:
    """Say whether the GPU is one of Nvidia's without bf16 and TF32."""
    return torch.version.hip is None and torch.cuda.get_device_capability() < (8, 0)


def fuse(optimizer: dict[str, Any]) -> None:
    """Let a config's optimizer update all parameters in a few kernels, unless it says how."""
    if optimizer.get("type") in _FUSED and not {"fused", "foreach"} & set(optimizer):
        optimizer["fused"] = True


def share_gradients(cfg: Config) -> None:
    """Let gradients live in the buckets that DDP sends, which saves a copy of all of them.

    No `static_graph`: it saves nothing where no parameter is unused, and neither accumulated batches nor heads whose
    losses depend on what was found in an image go with it. A config may set it in `model_wrapper_cfg`.
    """
    if cfg.get("model_wrapper_cfg") is None:
        cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel")
    wrapper = cfg.model_wrapper_cfg
    if wrapper.get("type", "MMDistributedDataParallel") != "MMDistributedDataParallel":
        return
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault("find_unused_parameters", cfg.get("find_unused_parameters", False))
    wrapper.setdefault("gradient_as_bucket_view", True)


@contextmanager
def full_fp32() -> Iterator[None]:
    """Compute fp32 products in full precision: for what is decided by the nearest of many, where TF32 may name another.

    Autocast is not touched. Not for use inside compiled code.
    """
    with _tf32(False, False):
        yield


@contextmanager
def tf32() -> Iterator[None]:
    """Compute fp32 products in TF32 on CUDA, also within `full_fp32`."""
    with _tf32(True, True):
        yield


@contextmanager
def _tf32(matmul: bool, cudnn: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _set_tf32(matmul, cudnn)
    try:
        yield
    finally:
        _set_tf32(*before)


def _set_tf32(matmul: bool, cudnn: bool) -> None:
    # Not by `fp32_precision` of torch 2.9: torch refuses a mix of both, and inductor reads this one.
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def in_force(model: nn.Module, optim_wrapper: Any = None, cfg: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what of the policy is in force, as the built objects and torch itself say it.

    Args:
        model: on its device, wrapped for several processes or not.
        optim_wrapper: of mmengine; None where nothing is trained.
        cfg: of the run; says whether frozen features are extracted under autocast.

    Returns:
        `fp32` ("full" or "tf32"), `autocast` (None, "bfloat16" or "float16"), `cudnn_benchmark`, `channels_last` (any
        weight of a convolution lies so), `fused_optimizer`, `ddp` (None, or its `gradient_as_bucket_view`,
        `static_graph`, `find_unused_parameters`).
    """
    cuda = next((p.is_cuda for p in model.parameters()), False)
    inner: Any = model.module if is_model_wrapper(model) else model
    groups = getattr(getattr(optim_wrapper, "optimizer", None), "param_groups", [])
    ddp = {name: bool(getattr(model, name)) for name in ("gradient_as_bucket_view", "static_graph",
                                                         "find_unused_parameters") if hasattr(model, name)}
    return {
        "fp32": "tf32" if cuda and torch.backends.cuda.matmul.allow_tf32 else "full",
        "autocast": _autocast(optim_wrapper, cfg or {}),
        "cudnn_benchmark": cuda and torch.backends.cudnn.benchmark,
        "channels_last": any(lies_channels_last(p) for p in inner.parameters()),
        "fused_optimizer": any(bool(group.get("fused")) for group in groups),
        "ddp": ddp or None,
    }


def _autocast(optim_wrapper: Any, cfg: Mapping[str, Any]) -> str | None:
    names = {"Bf16OptimWrapper": "bfloat16", "AmpOptimWrapper": "float16"}
    if optim_wrapper is None:
        return "bfloat16" if (cfg.get("test_cfg") or {}).get("amp") else None
    if hasattr(optim_wrapper, "cast_dtype"):  # of AmpOptimWrapper; None: torch's choice for the device
        dtype = optim_wrapper.cast_dtype or torch.get_autocast_dtype("cuda")
        return str(dtype).removeprefix("torch.")
    return names.get(type(optim_wrapper).__name__)


def lies_channels_last(weight: torch.Tensor) -> bool:
    """Say whether a tensor lies with its channels last and not also in torch's usual order."""
    return weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def in_words(facts: Mapping[str, Any]) -> str:
    """Return what `in_force` found in one line for the log."""
    autocast, ddp = facts["autocast"], facts["ddp"]
    words = ["fp32 products in TF32" if facts["fp32"] == "tf32" else "fp32 products in full precision",
             f"{autocast} autocast" if autocast else "no autocast"]
    words += [text for key, text in (("cudnn_benchmark", "cuDNN benchmark"), ("channels_last", "channels_last"),
                                     ("fused_optimizer", "fused optimizer")) if facts[key]]
    if ddp:
        words.append("DDP with " + (", ".join(name for name, on in ddp.items() if on) or "torch's defaults"))
    return "Precision: " + ", ".join(words)
