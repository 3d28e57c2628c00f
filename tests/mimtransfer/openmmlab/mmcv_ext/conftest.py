import sys

import pytest
import torch

import mimtransfer  # noqa: F401  supplies mmcv._ext before a test module imports mmcv.ops


@pytest.fixture(scope="session", params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request) -> str:
    return request.param


@pytest.fixture(scope="session", autouse=True)
def stand_in():
    """Put the stand-in behind mmcv's wrappers, also in an environment that has compiled ops."""
    import mmcv.ops  # noqa: F401

    from mimtransfer.openmmlab.mmcv_ext import stand_in

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
                patch.setattr(module, "ext_module", stand_in)
        yield stand_in
