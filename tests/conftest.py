"""What all tests share."""
import os
import sys

import pytest

# Read when torch is loaded: threads that wait should sleep, tests often share a machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def no_scope_left_over():
    """Forget the default scope of a Runner that an earlier test built: names would be looked up in its library."""
    yield
    if "mmengine.registry" in sys.modules:
        sys.modules["mmengine.registry"].DefaultScope._instance_dict.clear()
