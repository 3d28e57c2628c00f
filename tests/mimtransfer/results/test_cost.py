"""The cost meter on a clock that the test moves."""
import pytest
import torch

from mimtransfer.results.measurement import CostMeter, num_images


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make(warmup, iterations):
    clock = Clock()
    meter = CostMeter(warmup, clock=clock, wait=lambda: None)
    meter.begin(iterations)
    return meter, clock


def run(meter, clock, images, seconds):
    for count, duration in zip(images, seconds):
        clock.now += duration
        meter.iteration(count)


def test_warmup_validation_and_checkpoints_do_not_count():
    meter, clock = make(2, 100)
    meter.begin_epoch()
    run(meter, clock, [8, 8], [50.0, 30.0])  # warm-up
    run(meter, clock, [8, 8, 6], [1.0, 2.0, 1.5])
    meter.pause()
    clock.now += 1000.0  # saves a checkpoint
    run(meter, clock, [8], [7.0])  # its loading overlapped that
    run(meter, clock, [8], [1.0])
    meter.pause()
    meter.pause()
    clock.now += 500.0  # validates
    meter.begin_epoch()
    run(meter, clock, [8], [4.0])  # starts its workers: counts
    meter.pause()
    assert (meter.images, meter.seconds) == (8 + 8 + 6 + 8 + 8, 1 + 2 + 1.5 + 1 + 4)
    assert meter.images_per_s == 38 / 9.5
    assert meter.wall_s == 50 + 30 + 4.5 + 1000 + 8 + 500 + 4
    assert meter.iterations == 8


@pytest.mark.parametrize(("iterations", "measured"), [(1, 1), (3, 3), (4, 3), (8, 6), (100, 90)])
def test_short_runs_have_a_short_warmup(iterations, measured):
    meter, clock = make(10, iterations)
    meter.begin_epoch()
    run(meter, clock, [2] * iterations, [1.0] * iterations)
    meter.pause()
    assert (meter.images, meter.seconds) == (2 * measured, measured)
    assert meter.images_per_s == 2.0


def test_nothing_measured_is_none():
    meter, _ = make(10, 0)
    assert meter.images_per_s is None and meter.peak_memory_bytes > 1 << 20


def test_the_next_process_goes_on():
    first, clock = make(0, 3)
    first.begin_epoch()
    run(first, clock, [4, 4, 4], [1.0, 1.0, 1.0])
    first.pause()
    second, clock = make(0, 2)
    second.resume(first.state())
    clock.now += 10.0
    second.begin_epoch()
    run(second, clock, [4, 4], [2.0, 2.0])
    second.pause()
    assert second.images_per_s == 20 / 7 and second.wall_s == 3 + 14
    assert second.peak_memory_bytes >= first.peak_memory_bytes


IMAGE = torch.zeros(3, 4, 4)


@pytest.mark.parametrize(
    "batch",
    [
        {"inputs": torch.zeros(5, 3, 4, 4), "record": ()},
        {"inputs": [IMAGE] * 5, "data_samples": [None] * 5},
        {"inputs": {"sup": [IMAGE] * 2, "unsup": [IMAGE] * 3}},
        (torch.zeros(5, 3, 4, 4), torch.zeros(5)),
        [torch.zeros(5, 3, 4, 4), torch.zeros(5)],
        [{"img": IMAGE}] * 5,
        torch.zeros(5, 3, 4, 4),
    ],
)
def test_images_of_a_batch(batch):
    assert num_images(batch) == 5
