"""Deformable attention samples at points in float32, also in bf16 training (DINO, Mask2Former).

mmcv's `MultiScaleDeformableAttnFunction` casts the points to the type of the values before it calls the op, compiled or
not. bfloat16 has 8 significant bits: on a map of 128 cells a point is then a tenth of a cell away on average, and a
quarter at most, while the offsets that the network learns are of a few cells.

`import mimtransfer` calls `install()`: mmcv's module is changed when it is imported, whoever imports it. Values,
points and weights go to the op in float32; the result has the type of the values, gradients that of their tensors.
"""
from typing import Any

from mimtransfer.openmmlab.on_import import change_on_import

MODULE = "mmcv.ops.multi_scale_deform_attn"


def install() -> None:
    """Change mmcv's module as soon as it is imported, or now if it was."""
    change_on_import(MODULE, keep_points_wide)


def keep_points_wide(module: Any) -> None:
    """Replace the two functions of mmcv's module that attend, once."""
    import torch

    from mimtransfer.openmmlab.mmcv_ext.kernels import widen

    narrow, in_torch = module.MultiScaleDeformableAttnFunction, module.multi_scale_deformable_attn_pytorch
    if getattr(narrow, "keeps_points_wide", False):
        return

    class MultiScaleDeformableAttnFunction(narrow):  # type: ignore[valid-type,misc]  # mmcv's class, known at run time
        keeps_points_wide = True

        @classmethod
        def apply(cls, value, shapes, starts, points, weights, im2col_step):
            with torch.autocast(value.device.type, enabled=False):
                out = narrow.apply(widen(value), shapes, starts, widen(points), widen(weights), im2col_step)
            return out.to(value.dtype)

    def multi_scale_deformable_attn_pytorch(value, shapes, points, weights):
        with torch.autocast(value.device.type, enabled=False):
            return in_torch(widen(value), shapes, widen(points), widen(weights)).to(value.dtype)

    module.MultiScaleDeformableAttnFunction = MultiScaleDeformableAttnFunction
    module.multi_scale_deformable_attn_pytorch = multi_scale_deformable_attn_pytorch
