"""Seeding a process draws what torch, numpy and python draw after their own seeding."""
import random

import numpy as np
import torch

from mimtransfer.training.hooks import seed_process


def draws():
    dropped = torch.nn.functional.dropout(torch.ones(9))
    return random.random(), np.random.rand(), torch.rand(3).tolist(), dropped.tolist()


def test_draws_are_those_of_the_words():
    first, second = (int(word) for word in np.random.SeedSequence([3, 1, 40]).generate_state(2))
    random.seed(first)
    np.random.seed(first)
    torch.manual_seed(second)
    expected = draws()
    seed_process(3, 1, 40)
    assert draws() == expected
    seed_process(3, 1, 41)
    assert draws() != expected


def test_a_device_is_seeded_once_it_is_there(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    seed_process(1)
    assert not seeded  # before, torch would note who asked, in each iteration
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    seed_process(1)
    assert seeded == [int(np.random.SeedSequence([1]).generate_state(2)[1])]
