"""The first losses of every method and task are those of the code that wrote the fixture.

A refactoring must leave them equal. The helper `golden_losses.py` says how to renew the fixture on purpose.
"""
import json

import pytest
from golden_losses import CASES, FIXTURE, NUM_STEPS, losses

GOLDEN = json.loads(FIXTURE.read_text())


def test_every_case_has_a_curve():
    assert list(GOLDEN) == list(CASES)
    assert all(len(curve) == NUM_STEPS for curves in GOLDEN.values() for curve in curves.values())


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_the_fixture(name):
    """Bit-equal on the machine that wrote them; other processors round differently."""
    curves = losses(name)
    assert list(curves) == list(GOLDEN[name])
    for key, curve in curves.items():
        assert curve == pytest.approx(GOLDEN[name][key], rel=1e-6, abs=0), key
