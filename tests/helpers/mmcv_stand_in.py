"""Put our stand-in behind mmcv's wrappers, also in an environment that has compiled ops, for tests of it."""
import sys
from contextlib import contextmanager

import pytest

import mimtransfer  # noqa: F401  supplies mmcv._ext before a test module imports mmcv.ops


@contextmanager
def stand_in_behind_mmcv():
    """Yield the stand-in, which all of mmcv.ops calls meanwhile."""
    import mmcv.ops  # noqa: F401

    from mimtransfer.openmmlab.mmcv_ext import stand_in

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
                patch.setattr(module, "ext_module", stand_in)
        yield stand_in
