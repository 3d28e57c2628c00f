"""Which seconds count as training."""
from mimtransfer.benchmarks.training_clock import Seconds, TrainingClock


class Clocks:
    """Both clocks, set by hand: the wall goes twice as fast."""

    now = 0.0

    def __call__(self):
        return Seconds(self.now, 2 * self.now)

    def pass_by(self, seconds):
        self.now += seconds


def clock(warmup, cpu_s=0.0):
    clocks = Clocks()
    made = TrainingClock(warmup, clocks, wait=lambda: None)
    made.begin({"cpu_s": cpu_s, "wall_s": 2 * cpu_s})
    return made, clocks


def test_the_first_iterations_of_a_process_count_as_the_later_ones():
    made, clocks = clock(2, cpu_s=100.0)
    made.start()
    for seconds in (50, 9, 1, 2, 3):  # compilation is in the first two
        clocks.pass_by(seconds)
        made.iteration()
    assert made.total == Seconds(100 + 5 * 2, 200 + 5 * 4)


def test_what_is_no_training_is_left_out():
    made, clocks = clock(0)
    made.start()
    clocks.pass_by(30)  # loaders start
    made.leave_out()
    clocks.pass_by(1)
    made.iteration()
    clocks.pass_by(0.5)  # hooks behind the iteration
    made.stop()
    clocks.pass_by(70)  # a checkpoint
    made.start()
    made.start()  # it runs already
    clocks.pass_by(2)
    made.iteration()
    assert made.total.cpu == 3.5


def test_a_pass_that_measures_maps_counts_as_it_is():
    made, clocks = clock(1)
    made.start()
    clocks.pass_by(40)
    assert made.add_pass() == Seconds(40, 80)
    for seconds in (10, 2, 2):
        clocks.pass_by(seconds)
        made.iteration()
    made.add(Seconds(5, 6))  # that a killed process has made
    assert made.total == Seconds(40 + 6 + 5, 80 + 12 + 6)


def test_before_there_are_later_iterations_the_first_count_as_none():
    made, clocks = clock(3, cpu_s=7.0)
    made.start()
    clocks.pass_by(9)
    made.iteration()
    assert made.total.cpu == 7.0
