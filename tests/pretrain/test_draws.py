"""Counter-based random numbers and the drawing order."""
import numpy as np
import torch
from scipy import stats

from mimtransfer.draws import SampleGenerator, mix
from pretrain.masking.base import sample_order


def test_mix_is_splitmix64():
    # Reference in Python integers, independent of int64 wrap-around and shifts.
    mask = (1 << 64) - 1

    def reference(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    values = [0, 1, -1, 12345678901234567, -(2**63), 2**63 - 1]
    expected = [reference(v & mask) for v in values]
    got = [v & mask for v in mix(torch.tensor(values)).tolist()]
    assert got == expected


def test_a_sample_draws_the_same_wherever_it_lands():
    seeds = torch.tensor([5, 900, -3, 77])
    whole = SampleGenerator(seeds)
    first, second = whole.uniform(7), whole.normal(3, 2)
    for b in range(4):
        alone = SampleGenerator(seeds[b : b + 1])
        assert torch.equal(alone.uniform(7)[0], first[b])
        assert torch.equal(alone.normal(3, 2)[0], second[b])


def test_distributions():
    generator = SampleGenerator.from_seed(3, 64)
    uniform = generator.uniform(2000)
    assert uniform.min() > 0 and uniform.max() < 1
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(generator.exponential(2000).flatten().numpy(), "expon").pvalue > 1e-3
    assert stats.kstest(generator.normal(2000).flatten().numpy(), "norm").pvalue > 1e-3
    integers = generator.integers(-2, 3, 3000)
    counts = np.bincount(integers.flatten().numpy() + 2, minlength=6)
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_streams_and_neighbouring_samples_are_independent():
    generator = SampleGenerator.from_seed(0, 2000)
    one, two = generator.uniform(8).numpy(), generator.uniform(8).numpy()
    columns = np.concatenate([one, two], axis=1)
    correlation = np.corrcoef(columns, rowvar=False) - np.eye(16)
    assert np.abs(correlation).max() < 0.12  # 5 standard errors of 1 / sqrt(2000)
    assert np.abs(np.corrcoef(one[:-1].ravel(), one[1:].ravel())[0, 1]) < 0.04


def test_first_draw_has_the_probabilities_of_the_weights():
    weights = torch.tensor([0.0, 1.0, 3.0, 6.0])
    batch = 20000
    order = sample_order(weights.expand(batch, 4), SampleGenerator.from_seed(1, batch))
    counts = torch.bincount(order[:, 0], minlength=4).numpy()
    assert counts[0] == 0
    assert stats.chisquare(counts[1:], batch * np.array([0.1, 0.3, 0.6])).pvalue > 1e-3
    assert (order[:, 3] == 0).all()


def test_zero_weights_come_last_in_random_order():
    batch = 6000
    order = sample_order(torch.tensor([0.0, 0.0, 0.0, 1e-30]).expand(batch, 4), SampleGenerator.from_seed(2, batch))
    assert (order[:, 0] == 3).all()
    _, counts = np.unique(order[:, 1:].numpy(), axis=0, return_counts=True)
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_order_is_distributed_like_multinomial_without_replacement():
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    batch = 24000
    ours = sample_order(weights.expand(batch, 4), SampleGenerator.from_seed(4, batch))
    torch.manual_seed(0)
    theirs = torch.multinomial(weights.expand(batch, 4), 4)
    table = [np.unique(order.numpy() @ np.array([64, 16, 4, 1]), return_counts=True) for order in (ours, theirs)]
    assert (table[0][0] == table[1][0]).all() and len(table[0][0]) == 24
    assert stats.chi2_contingency(np.stack([table[0][1], table[1][1]])).pvalue > 1e-3


def test_forks_are_independent_of_each_other_and_of_what_was_drawn():
    generator = SampleGenerator.from_seed(0, 2000)
    forks = [generator.fork(number).uniform(4) for number in (1, 2)]
    drawn = [generator.uniform(4) for _ in range(2)]
    assert torch.equal(generator.fork(1).uniform(4), forks[0])
    table = torch.cat([*forks, *drawn], 1).T  # [16, samples]
    assert (torch.corrcoef(table) - torch.eye(16)).abs().max() < 5 / 2000**0.5
