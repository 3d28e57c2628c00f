"""A stand-in for the compiled module `mmcv._ext`, so that mmdet and mmseg run with mmcv-lite.

`import mimtransfer` calls `install()`, which puts a finder at the END of `sys.meta_path`: a compiled `mmcv._ext` is
always found before it and left alone, and without mmcv the finder is never asked. It imports neither torch nor mmcv.
The module it supplies is `stand_in.py`: the files beside it fill mmcv's output tensors with the results of torchvision
kernels and plain torch; any other op raises one line when it is called. `docs/openmmlab.md` lists what is supplied.
"""
from mimtransfer.mmcv_ext.finder import install

__all__ = ["install"]
