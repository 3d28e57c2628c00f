"""What all tests share: threads, examples of hypothesis, which tests are slow, and configs read once."""
import functools
import os
import sys

import pytest
from hypothesis import settings

# Read when torch is loaded. One thread, since `make test` runs one worker per core; threads that wait should sleep.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in each run; `make fuzz` draws new ones.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", database=None, deadline=None, print_blob=True)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def no_scope_left_over():
    """Forget the default scope of a Runner that an earlier test built: names would be looked up in its library."""
    yield
    if "mmengine.registry" in sys.modules:
        sys.modules["mmengine.registry"].DefaultScope._instance_dict.clear()


def pytest_collection(session):
    """Read the model indices of mmdet and mmseg once: mmengine parses 100 files for each `_base_` of theirs."""
    if session.config.getoption("numprocesses", None):
        return  # the controller of xdist collects nothing
    import mmengine.config.config
    import mmengine.config.utils

    mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)
    mmengine.config.config.is_installed = functools.cache(mmengine.config.config.is_installed)
