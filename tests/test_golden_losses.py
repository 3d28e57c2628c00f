"""The first losses of every method and task are those of the code that wrote the fixture.

A refactoring must leave them equal. A change that is meant to change losses renews the fixture, and its commit says
which curves changed and why:

    OMP_NUM_THREADS=1 python tests/helpers/golden_losses.py [NAME ...]          # without names: all curves
"""
import json

import pytest
from golden_losses import CASES, FIXTURE, losses

GOLDEN = json.loads(FIXTURE.read_text())


def test_every_case_has_a_curve():
    assert list(GOLDEN) == list(CASES)
    for name, case in CASES.items():
        assert {len(curve) for curve in GOLDEN[name].values()} == {case.steps}


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_the_fixture(name):
    """Bit-equal on the machine that wrote them; other processors round differently."""
    curves = losses(name)
    assert list(curves) == list(GOLDEN[name])
    for key, curve in curves.items():
        assert curve == pytest.approx(GOLDEN[name][key], rel=1e-6, abs=0), key
