"""Paired comparison of two rows over their seeds: Student's t, and Holm's correction for many comparisons.

Standard library only. Student (1908), "The probable error of a mean"; Holm (1979), "A simple sequentially rejective
multiple test procedure"; t distribution: Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
"""
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class PairedTest(NamedTuple):
    """A two-sided paired t-test, with the 95 % confidence interval of the mean difference."""

    pairs: int
    difference: float
    p: float
    low: float
    high: float


def paired_test(first: Mapping[int, float], second: Mapping[int, float]) -> PairedTest | None:
    """Test the differences `first - second` of the seeds that both have.

    Args:
        first, second: seed -> score.

    Returns:
        None with less than two such seeds, or when both are equal in all of them: nothing varies that could be tested.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(differences) < 2:
        return None
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    error = deviation / math.sqrt(len(differences))
    if error == 0:
        return None if mean == 0 else PairedTest(len(differences), mean, 0.0, mean, mean)
    freedom = len(differences) - 1
    margin = error * _critical_t(0.05, freedom)
    return PairedTest(len(differences), mean, two_sided_p(mean / error, freedom), mean - margin, mean + margin)


def two_sided_p(t: float, freedom: int) -> float:
    """Return the probability of a |t| at least as large, for a whole number of degrees of freedom."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    # The terms: cos, 2/3 cos^3, 2*4/(3*5) cos^5 ... for odd numbers; 1, 1/2 cos^2, 1*3/(2*4) cos^4 ... for even.
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1 - inside)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: the family-wise error rate stays below the level."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def mark(p: float | None) -> str:
    """Return `**` below 0.01, `*` below 0.05, else nothing."""
    return "" if p is None or p >= 0.05 else "**" if p < 0.01 else "*"


def _critical_t(level: float, freedom: int) -> float:
    """Return the t whose two-sided p is `level`, by bisection."""
    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, freedom) > level else (low, middle)
    return low
