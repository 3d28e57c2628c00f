"""mimtransfer: from masked image modelling to COCO and ADE20K transfer tables, in one codebase."""
from mimtransfer.openmmlab.attention_points import install as _keep_points_wide
from mimtransfer.openmmlab.mmcv_ext import install as _supply_mmcv_ext
from mimtransfer.openmmlab.own_bases import install as _find_our_bases

__version__ = "0.1.0"

_supply_mmcv_ext()  # nothing happens where mmcv is compiled; first, before anything can import mmdet or mmseg
_keep_points_wide()
_find_our_bases()
