"""Deformable attention samples at points in float32, also in bf16 training (DINO, Mask2Former).

mmcv's `MultiScaleDeformableAttnFunction` casts the points to the type of the values before it calls the op, compiled or
not. bfloat16 has 8 significant bits: on a map of 128 cells a point is then a tenth of a cell away on average, and a
quarter at most, while the offsets that the network learns are of a few cells.

`import mimtransfer` calls `install()`: mmcv's module is changed when it is imported, whoever imports it. Values,
points and weights go to the op in float32; the result has the type of the values, gradients that of their tensors.
"""
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

MODULE = "mmcv.ops.multi_scale_deform_attn"


class AttentionPointsFinder:
    """Find mmcv's module where it is, with a loader that changes it."""

    @staticmethod
    def find_spec(fullname: str, path=None, target=None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == MODULE else None
        if found is None or found.origin is None or not isinstance(found.loader, SourceFileLoader):
            return None
        return spec_from_file_location(fullname, found.origin, loader=_Loader(fullname, found.origin))


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        keep_points_wide(module)


def install() -> None:
    """Put the finder first in `sys.meta_path`, once, and change the module if it was imported before."""
    if not any(getattr(finder, "__name__", "") == AttentionPointsFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, AttentionPointsFinder)
    if MODULE in sys.modules:
        keep_points_wide(sys.modules[MODULE])


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
