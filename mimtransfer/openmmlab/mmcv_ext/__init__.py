"""A stand-in for the compiled module `mmcv._ext`, so that mmdet and mmseg run with mmcv-lite.

`import mimtransfer` calls `install()`, which puts a finder at the END of `sys.meta_path`: a compiled `mmcv._ext` is
always found before it and left alone, and without mmcv the finder is never asked. It imports neither torch nor mmcv.
The module it supplies is `stand_in.py`: the files beside it fill mmcv's output tensors with the results of torchvision
kernels and plain torch; any other op raises one line when it is called. `docs/openmmlab.md` lists what is supplied.
"""
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

MODULE = "mmcv._ext"
SOURCE = Path(__file__).with_name("stand_in.py")


class StandInFinder:
    """Find `mmcv._ext` in `stand_in.py`, for `import` and for probes such as mmengine's `mmcv_full_available()`."""

    @staticmethod
    def find_spec(fullname: str, path=None, target=None) -> ModuleSpec | None:
        return spec_from_file_location(MODULE, SOURCE) if fullname == MODULE else None


def install() -> None:
    """Append the finder to `sys.meta_path`, once. Last place: any other finder, so a compiled module, comes first."""
    if not any(getattr(finder, "__name__", "") == StandInFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.append(StandInFinder)
