"""What is imported as `mmcv._ext` when mmcv was installed without compiled ops (see `finder.py`).

Names and signatures are those `mmcv/ops/*.py` of mmcv 2.1 call. `mmcv.utils.ext_loader` asserts at import that every
op it may call exists, so `__getattr__` answers every other name with a function that, when it is called, says which op
is missing and how to get it.
"""

import torch
import torchvision

from mimtransfer.errors import UserError
from mimtransfer.openmmlab.mmcv_ext.deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from mimtransfer.openmmlab.mmcv_ext.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mimtransfer.openmmlab.mmcv_ext.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mimtransfer.openmmlab.mmcv_ext.nms import bbox_overlaps, nms, nms_match, softnms
from mimtransfer.openmmlab.mmcv_ext.roi_align import roi_align_backward, roi_align_forward
from mimtransfer.openmmlab.mmcv_ext.roi_pool import roi_pool_backward, roi_pool_forward

__all__ = [
    "bbox_overlaps",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "nms_match",
    "roi_align_backward",
    "roi_align_forward",
    "roi_pool_backward",
    "roi_pool_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """Say, where OpenMMLab prints the compiler of mmcv, what computes the ops instead."""
    return f"none: mimtransfer's stand-in on torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    return torch.version.cuda or "not available"


def __getattr__(name: str):
    if name.startswith("__"):  # __path__, __wrapped__ ...: probes of the import system and of inspect, not ops
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*args, **kwargs):
        raise UserError(
            f"mmcv op '{name}' needs compiled mmcv, and this environment has mmcv-lite: "
            "install mmcv 2.1 with its ops (`make setup MMCV=full`) or a prebuilt onedl-mmcv wheel"
        )

    missing.__name__ = missing.__qualname__ = name
    globals()[name] = missing
    return missing
