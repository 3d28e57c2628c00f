"""When encoders are scored, and what a budget leaves of it."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimtransfer.errors import UserError
from pretrain.hooks.online_schedule import OnlineSchedule

COSTS = {"fast": 30, "full": 200}


def counts(marks):
    return {kind: list(marks.values()).count(kind) for kind in ("fast", "full")}


def test_shares_become_whole_epochs():
    marks = OnlineSchedule(fast=0.25, full=0.5).marks(8)
    assert marks == {0: "fast", 2: "fast", 4: "full", 6: "fast", 8: "full"}
    # Within an epoch: to its end. 0.1 of 30 epochs is 3, and one epoch has an end only.
    assert list(OnlineSchedule(fast=0.3, full=None).marks(5)) == [0, 2, 3, 5]
    assert list(OnlineSchedule(fast=0.1, full=None).marks(30)) == list(range(0, 31, 3))
    assert OnlineSchedule().marks(1) == {0: "fast", 1: "full"}
    assert OnlineSchedule(fast=None).marks(10) == {5: "full", 10: "full"}
    assert counts(OnlineSchedule().marks(800)) == {"fast": 19, "full": 2}


def test_the_default_costs_little_of_a_published_training():
    """CIFAR-10, 200 epochs, and ImageNet, 800: everything is affordable, at under 1 % of the images."""
    for epochs, images, full in ((200, 50_000, 20_000), (800, 1_281_167, 1_331_167)):
        schedule, costs = OnlineSchedule(), {"fast": 3000, "full": full}
        marks = schedule.affordable(epochs, epochs * images, costs)
        assert marks == schedule.marks(epochs)
        assert sum(costs[kind] for kind in marks.values()) < 0.01 * epochs * images


@pytest.mark.parametrize(("trained", "expected"), [
    (60_000, {"fast": 19, "full": 2}),  # 970 images of 1,200
    (45_000, {"fast": 10, "full": 2}),  # 700 of 900
    (28_000, {"fast": 5, "full": 2}),  # 550 of 560
    (25_000, {"fast": 10, "full": 1}),  # the full one in the middle is given up
    (18_000, {"fast": 5, "full": 1}),
    (15_000, {"fast": 6, "full": 0}),
    (1_500, {"fast": 1, "full": 0}),
    (100, {"fast": 1, "full": 0}),  # whatever it costs
])
def test_a_budget_thins_the_fast_ones_first(trained, expected):
    marks = OnlineSchedule().affordable(100, trained, COSTS)
    assert counts(marks) == expected and max(marks) == 100
    assert OnlineSchedule(budget=None).affordable(100, trained, COSTS) == OnlineSchedule().marks(100)


@given(fast=st.one_of(st.none(), st.sampled_from([0.01, 0.05, 0.3, 1.0])), full=st.sampled_from([None, 0.1, 0.5, 0.7]),
       epochs=st.integers(1, 60), trained=st.integers(1, 10**5), budget=st.sampled_from([0.001, 0.02, 0.5]))
def test_a_budget_is_kept_or_one_fast_evaluation_is_left(fast, full, epochs, trained, budget):
    if fast is None and full is None:
        return
    schedule = OnlineSchedule(fast, full, budget)
    marks = schedule.affordable(epochs, trained, COSTS)
    assert set(marks) <= {*schedule.marks(epochs), epochs} and epochs in marks and list(marks) == sorted(marks)
    assert sum(COSTS[kind] for kind in marks.values()) <= budget * trained or marks == {epochs: "fast"}


@pytest.mark.parametrize(("arguments", "message"), [
    (dict(fast=0), "fast=0"), (dict(fast=2), "fast=2"), (dict(full=1.5), "full=1.5"), (dict(full=True), "full=True"),
    (dict(budget=0), "budget=0"), (dict(fast=None, full=None), "at least one of them"),
])
def test_values_out_of_their_range_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        OnlineSchedule(**arguments)
