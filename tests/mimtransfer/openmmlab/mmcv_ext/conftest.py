import pytest
import torch
from mmcv_stand_in import stand_in_behind_mmcv


@pytest.fixture(scope="session", params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request) -> str:
    return request.param


@pytest.fixture(scope="session", autouse=True)
def stand_in():
    """Put the stand-in behind mmcv's wrappers, also in an environment that has compiled ops."""
    with stand_in_behind_mmcv() as ours:
        yield ours
