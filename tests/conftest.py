"""What all tests share: threads, examples of hypothesis, which tests are slow, model indices read once."""
import os
import sys
from fnmatch import fnmatch

import pytest
from hypothesis import settings

# Read when torch is loaded. One thread, since `make test` runs one worker per core; threads that wait should sleep.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in each run; `make fuzz` draws new ones.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", database=None, deadline=None, print_blob=True)
settings.load_profile("fixed")
FUZZ = int(os.environ.get("FUZZ", 1))  # times the examples of each property

# What `make test-fast` leaves out: whole files, and tests of other files. They run a tool or train, start processes
# that import torch, or build a ViT-B for each of many configs.
SLOW_FILES = (
    "*/tests/tools/*", "*/test_*_steps.py", "*/test_golden_losses.py", "*/test_*configs.py", "*/test_cnn.py",
    "*/test_published_shapes.py", "*/test_vitdet_official.py", "*/test_mfm_official.py",
    "*/test_layer_decay_sharded.py", "*/test_fake_cuda.py",
)
SLOW_TESTS = (
    "*::test_every_shipped_suite_can_be_planned*", "*::test_mmdet_and_mmseg_import*", "*::test_import_needs_no_*",
    "*::test_a_mmengine_run_resumes*", "*::test_the_tool_refuses_*", "*::test_submitits_local_executor*",
    "*::test_loss_and_gradients_equal_the_official_code?vit-b*",
)


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Forget the default scope and the visualizers of a Runner that an earlier test built, or a fixture of its file:
    names would be looked up in its library, and losses be logged in its folder.
    """
    _forget_runners()
    yield
    _forget_runners()


def _forget_runners():
    if "mmengine.registry" in sys.modules:
        sys.modules["mmengine.registry"].DefaultScope._instance_dict.clear()
    if "mmengine.visualization" in sys.modules:
        kinds = [sys.modules["mmengine.visualization"].Visualizer]
        for kind in kinds:
            kind._instance_dict.clear()
            kinds += kind.__subclasses__()


def pytest_collection(session):
    """Tests that call `Config.fromfile` find the bases of mmdet and mmseg as fast as the tools do."""
    if session.config.getoption("numprocesses", None):
        return  # the controller of xdist collects nothing
    from mimtransfer.openmmlab.config_bases import keep_indices

    keep_indices()


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not in `make test-fast`")


def pytest_ignore_collect(collection_path, config):
    """Do not even import the slow files where no slow test is asked for."""
    if config.getoption("markexpr") == "not slow" and _is_any(SLOW_FILES, collection_path.as_posix()):
        return True


def pytest_collection_modifyitems(items):
    for item in items:
        if _is_any(SLOW_FILES, item.path.as_posix()) or _is_any(SLOW_TESTS, item.nodeid):
            item.add_marker("slow")
        if FUZZ > 1 and hasattr(item.obj, "hypothesis"):
            # Each property has its own number of examples; hypothesis has no public way to scale it.
            own = item.obj._hypothesis_internal_use_settings
            item.obj._hypothesis_internal_use_settings = settings(own, max_examples=FUZZ * own.max_examples)


def _is_any(patterns, name):
    return any(fnmatch(name, pattern) for pattern in patterns)
