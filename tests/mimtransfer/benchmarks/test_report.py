"""The report of a GPU: what is measured, what becomes of failures, what is rendered."""
import json
from xml.etree import ElementTree

import pytest
import torch
from mmengine.registry import init_default_scope

from mimtransfer.benchmarks import gpu_tests
from mimtransfer.benchmarks.report import Report, describe_machine, left_out, row_of
from mimtransfer.benchmarks.timing import Contender, Figure, count_flops, measure
from mimtransfer.errors import UserError
from pretrain.benchmarks.loading import build_loader, endless_batches, write_pictures
from pretrain.benchmarks.steps import load

ABOUT = dict(config="a.py", batch_size=8, precision="bf16", compiled=False)


def test_turns_are_taken_by_turns_and_failures_end_only_themselves():
    order, notes = [], []

    def contender(name, lasts=100):
        def step():
            order.append(name)
            if order.count(name) > lasts:
                raise RuntimeError(f"CUDA out of memory.\nTried to allocate {name}")

        return lambda: Contender(step, images=2)

    def broken():
        raise UserError("no such checkout")

    builders = {"a": contender("a"), "none": broken, "b": contender("b", lasts=3), "c": contender("c")}
    found = measure(builders, "cpu", rounds=3, steps=1, warmup=1, survive=True, note=notes.append)
    assert order == ["a", "b", "c"] + ["a", "b", "c"] * 3 + ["a", "c"]
    assert [len(figure.seconds) for _, figure in found.values()] == [3, 0, 1, 3]
    assert found["none"][0] is None and found["none"][1].error == "UserError: no such checkout"
    assert found["b"][0] is None and found["b"][1].error == "RuntimeError: CUDA out of memory. Tried to allocate b"
    assert notes == [f"{name}: {found[name][1].error}" for name in ("none", "b")]
    with pytest.raises(UserError, match="no such checkout"):
        measure({"none": broken}, "cpu", rounds=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure({"b": contender("d", lasts=1)}, "cpu", rounds=1)


class FakeGPU:
    """Memory and events of a GPU that computes nothing: bytes now and at most, a clock."""

    def __init__(self, monkeypatch):
        self.now = self.peak = self.clock = 0
        names = dict(memory_allocated=lambda: self.now, max_memory_allocated=lambda: self.peak,
                     reset_peak_memory_stats=self.reset, synchronize=lambda: None, empty_cache=lambda: None)
        for name, function in names.items():
            monkeypatch.setattr(torch.cuda, name, function)
        gpu = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = gpu.clock

            def elapsed_time(self, other):
                return other.at - self.at

        monkeypatch.setattr(torch.cuda, "Event", Event)

    def reset(self):
        self.peak = self.now

    def hold(self, number):
        self.now += number
        self.peak = max(self.peak, self.now)


def test_on_a_gpu_events_give_the_time_and_each_contender_its_own_memory(monkeypatch):
    gpu = FakeGPU(monkeypatch)

    def contender(weights, activations, milliseconds):
        def build():
            gpu.hold(weights)
            moments = []

            def step():
                gpu.hold(0 if moments else 2 * weights)  # AdamW's, in the first step
                moments.append(1)
                gpu.hold(activations)
                gpu.hold(-activations)
                gpu.clock += milliseconds

            return Contender(step)

        return build

    found = measure({"a": contender(100, 50, 7), "b": contender(1000, 10, 30)}, "cuda", rounds=3, steps=5, warmup=1)
    (_, a), (_, b) = found.values()
    assert a.seconds == pytest.approx([0.007] * 3) and b.seconds == pytest.approx([0.03] * 3)
    assert (a.memory, b.memory) == (3 * 100 + 50, 3 * 1000 + 10)


def test_operations_are_counted():
    left, right = torch.ones(3, 4), torch.ones(4, 5)
    assert count_flops(lambda: left @ right, times=2) == 2 * (2 * 3 * 4 * 5)

    def full():
        raise torch.cuda.OutOfMemoryError

    assert count_flops(full) is None


def test_rows_and_their_markdown(tmp_path):
    facts = dict(device="NVIDIA H200 (x|y)", device_type="cuda", memory_bytes=2**37, cuda="13.0", cudnn=91900,
                 threads=8, cores=16, versions=dict(torch="2.11.0"))  # fmt: skip
    report = Report(tmp_path / "new", facts, dict(quick=False), dict(commit="c" * 40, dirty=False))
    assert report.path.name.startswith("nvidia-h200-x-y_2")
    first, slower = Figure([0.1, 0.3, 0.2], 2**31), Figure([0.2, 0.6, 0.4], None)
    contender = Contender(print, images=8, flops=9894 * 10**9)
    rows = [
        row_of("Group", "one", ABOUT, contender, first, first, facts["device"], None),
        row_of("Group", "two", ABOUT, Contender(print, images=8), slower, first, facts["device"], None),
        row_of("Group", "three", ABOUT, None, Figure(error="RuntimeError: a|b"), first, facts["device"], None),
        left_out("Late", "four", ABOUT, "no time was left"),
    ]  # fmt: skip
    rows[1]["data_wait"] = 0.5
    assert rows[0]["seconds"] == 0.2 and rows[0]["images_per_s"] == 40 and rows[0]["mfu"] == pytest.approx(0.05)
    assert rows[0]["gflop_per_image"] == pytest.approx(9894 * 10**9 / 8e9) and rows[1]["time_ratio"] == 2.0
    report.add(rows)
    assert json.loads(report.path.read_text())["complete"] is False
    assert "**not complete" in report.path.with_suffix(".md").read_text()
    report.add([dict(name="test_a::b", outcome="passed", seconds=1.0, message=""),
                dict(name="test_a::c", outcome="failed", seconds=2.0, message="1 | 2")], "tests")
    report.finish()
    content, text = json.loads(report.path.read_text()), report.path.with_suffix(".md").read_text()
    assert content["complete"] and content["rows"] == rows and report.failures == ["test_a::c", "Group: three"]
    for line in ("1 of 2 passed, 3 s.", "| test_a::c | failed | 1 \\| 2 |",
                 "| one, bf16 | 8 | 200 (100 - 300) | 40 | 1.000 | 1237 | 5.0% | 2.00 GiB |",
                 "| two, bf16 | 8 | 400 (200 - 600) | 20 | 2.000 | - | - | - |",
                 "| three, bf16 | 8 | failed: RuntimeError: a\\|b | | | | | |",
                 "| four, bf16 | 8 | left out: no time was left | | | | | |",
                 "two: 50.0% of a step waits for data."):  # fmt: skip
        assert line in text.splitlines(), line
    assert "commit cccccccccc." in text and ", 128 GiB, 16 cores, 8 threads, CUDA 13.0, cuDNN 91900" in text


def test_this_machine_can_be_described():
    found = describe_machine("cpu")
    assert found["device"] and found["device_type"] == "cpu" and found["versions"]["torch"] == torch.__version__


def test_tests_that_cannot_run_are_one_row_and_others_one_each(tmp_path):
    (row,) = gpu_tests.run_tests("cpu", [str(tmp_path / "nowhere")], timeout=60)
    assert row["outcome"] == "error" and "no result" in row["message"] and "nowhere" in row["message"]
    xml = """<s><testcase classname="tests.gpu.test_a" name="b[c]" time="0.5"/>
    <testcase classname="tests.gpu.test_a" name="d" time="1"><failure message="assert  1"/></testcase></s>"""
    rows = [gpu_tests._row(case) for case in ElementTree.fromstring(xml).iter("testcase")]
    assert rows == [dict(name="test_a::b[c]", outcome="passed", seconds=0.5, message=""),
                    dict(name="test_a::d", outcome="failed", seconds=1.0, message="assert 1")]


def test_loaded_batches_do_not_end(tmp_path):
    init_default_scope("mimtransfer")
    write_pictures(tmp_path / "pictures", 5, (20, 24))
    cfg = load("configs/debug/mae_vit-debug_2e_folder.py", [], amp=False)
    batches = endless_batches(build_loader(cfg, tmp_path / "pictures", 4, workers=0))
    shapes = {tuple(next(batches)["inputs"].shape) for _ in range(3)}
    assert shapes == {(4, 3, 32, 32)}
