"""What all tests share: threads, examples of hypothesis, which tests are slow, model indices read once."""
import functools
import gc
import os
import signal
import sys
import weakref
from fnmatch import fnmatch
from itertools import groupby, islice

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
    "*/test_layer_decay_sharded.py", "*/test_sharded_steps.py", "*/test_iteration_checkpoints.py",
    "*/test_background_saving.py", "*/test_compile.py", "*/test_compilation.py", "*/test_fake_cuda.py",
    "*/tests/gpu/*", "*/test_reading.py", "*/test_resume_schedule.py", "*/test_mutated_json.py", "*/test_fake_step.py",
    "*/test_detectron_values.py", "*/test_flex.py", "*/test_steps_without_waiting.py", "*/benchmarks/test_report.py",
    "*/hooks/test_phases.py", "*/hooks/test_online_evaluation.py", "*/test_wheel.py", "*/docs/test_api.py",
    "*/test_onnx_model.py", "*/test_onnx_predictions.py",
)
SLOW_TESTS = (
    "*::test_doctor_and_the_tools_say_the_same_line*", "*::test_data_configs_name_parts_that_exist*",
    "*::test_every_shipped_suite_can_be_planned*", "*::test_mmdet_and_mmseg_import*", "*::test_import_needs_no_*",
    "*::test_pretraining_from_two_processes_to_one*", "*::test_segmentation_with_twice_the_batch*",
    "*::test_points_of_deformable_attention_are_kept*", "*::test_a_tool_starts_without_noise",
    "*::test_a_mmengine_run_resumes*", "*::test_the_tool_refuses_*", "*::test_submitits_local_executor*",
    "*::test_a_resumed_run_has_the_same_teacher", "*::test_loss_and_gradients_equal_the_official_code?vit-b*",
)


_FROZEN = {"modules": 0}
_ITERATORS = weakref.WeakSet()  # over data loaders with workers, that this test has begun


def pytest_sessionstart(session):
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Iterator

    begin = Iterator.__init__

    def begin_and_note(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        _ITERATORS.add(self)

    Iterator.__init__ = begin_and_note
    _build_as_in_a_new_process()


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Forget the default scope and the visualizers of a Runner that an earlier test built, or a fixture of its file:
    names would be looked up in its library, and losses be logged in its folder.
    """
    _forget_runners()
    _ITERATORS.clear()
    yield
    _forget_runners()
    # The garbage collector would close the queues of a Runner's workers first, and then wait for each for 5 seconds.
    for iterator in list(_ITERATORS):
        iterator._shutdown_workers()


@pytest.fixture
def signals_not_ignored():
    """For tests that send signals: a suite run in the background, or under nohup, inherits that they are ignored."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in defaults if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, defaults[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def _build_as_in_a_new_process():
    """Let no Runner find the log of an earlier one: mmengine keeps it by a name that ends with the second of the start,
    and on a fast machine two short runs begin in one.
    """
    from mmengine.runner import FlexibleRunner, Runner

    for kind in (Runner, FlexibleRunner):
        def build(self, *args, _build=kind.__init__, **kwargs):
            _forget_logs()
            _build(self, *args, **kwargs)

        kind.__init__ = functools.wraps(kind.__init__)(build)


def _forget_logs():
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.visualization import Visualizer

    kinds = [MMLogger, MessageHub, Visualizer]
    for kind in kinds:
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()


def _forget_runners():
    _forget_logs()
    sys.modules["mmengine.registry"].DefaultScope._instance_dict.clear()


@pytest.fixture
def quick_weights(monkeypatch):
    """Draw the weights of a model quickly, and none on the meta device."""
    from one_step import draw_quickly

    draw_quickly(monkeypatch)


def pytest_collection(session):
    """Tests that call `Config.fromfile` find the bases of mmdet and mmseg as fast as the tools; runs start faster."""
    if session.config.getoption("numprocesses", None):
        return  # the controller of xdist collects nothing
    import quick_runs  # noqa: F401


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where tests/gpu run: cpu (default), cuda, cuda:1 ...")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not in `make test-fast`")


def pytest_ignore_collect(collection_path, config):
    """Do not even import the slow files where no slow test is asked for."""
    if config.getoption("markexpr") == "not slow" and _is_any(SLOW_FILES, collection_path.as_posix()):
        return True


def pytest_collection_modifyitems(config, items):
    slow_file = functools.cache(lambda path: _is_any(SLOW_FILES, path.as_posix()))
    for item in items:
        if slow_file(item.path) or _is_any(SLOW_TESTS, item.nodeid):
            item.add_marker("slow")
        if FUZZ > 1 and hasattr(item.obj, "hypothesis"):
            # Each property has its own number of examples; hypothesis has no public way to scale it.
            own = item.obj._hypothesis_internal_use_settings
            item.obj._hypothesis_internal_use_settings = settings(own, max_examples=FUZZ * own.max_examples)
    if hasattr(config, "workerinput"):
        items[:] = _dealt(items, config.workerinput["workercount"])


def _dealt(items, workers):
    """Return the tests so that the equal part of the list that xdist gives to each worker begins with slow files.

    Its last tests, which a worker without work takes over, are short then, and none waits for a long one.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = iter([item for item in items if not item.get_closest_marker("slow")])
    parts = [[] for _ in range(workers)]
    for number, (_, tests) in enumerate(groupby(slow, key=lambda item: item.path)):
        parts[number % workers].extend(tests)
    dealt = []
    for number, part in enumerate(parts, start=1):
        dealt += part
        dealt += islice(rest, max(0, len(items) * number // workers - len(dealt)))
    return [*dealt, *rest]


def pytest_collection_finish(session):
    _freeze_modules()


def pytest_runtest_setup(item):
    if len(sys.modules) > _FROZEN["modules"] + 500:  # the test before was the first with mmdet or mmseg
        _freeze_modules()


def _freeze_modules():
    """Let the garbage collector pass over what the imports have made: mmengine calls it for each data set."""
    gc.collect()
    gc.freeze()
    _FROZEN["modules"] = len(sys.modules)


def _is_any(patterns, name):
    return any(fnmatch(name, pattern) for pattern in patterns)


@pytest.fixture
def call(folder, monkeypatch):
    """Run a tool's main() in this process, in the working directory `folder` of the test's file; return its status."""
    from own_tool import call_tool

    monkeypatch.chdir(folder)
    return call_tool
