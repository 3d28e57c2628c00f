"""When a learning curve reaches an accuracy: between marks linearly, never before the first or behind the last."""
from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mimtransfer.results.compare import holm, paired_test
from mimtransfer.results.curves.points import COSTS, END, Curves, Point


class Crossing(NamedTuple):
    """Where a curve reaches a value.

    Attributes:
        x: cost.
        at_most: it is the first mark, which has the value already.
    """

    x: float
    at_most: bool


class CurvePoint(NamedTuple):
    """A mark: mean cost, mean score and its sample standard deviation (None of one seed)."""

    x: float
    y: float
    std: float | None


@dataclass
class Standing:
    """How a contender stands in one task.

    Attributes:
        seeds: that count: those that have ended; before one has, all.
        ended: whether they have.
        final: seed -> score at the end.
        total: cost -> mean at the end.
        reached: cost -> where the mean curve reaches the target; None: nowhere.
        by_seed: cost -> seed -> the same of each seed's own curve.
        p, share_p: of the difference of the final score, and of the ratio of the seconds to the baseline's, by paired
            t-tests (the latter of logarithms); the first corrected by Holm for the contenders.
    """

    name: str
    label: str
    seeds: list[int]
    ended: bool
    final: dict[int, float]
    total: dict[str, float]
    reached: dict[str, Crossing | None] = field(default_factory=dict)
    by_seed: dict[str, dict[int, Crossing | None]] = field(default_factory=dict)
    p: float | None = None
    share_p: float | None = None


def first_reach(curve: Sequence[tuple[float, float]], target: float) -> Crossing | None:
    """Return where a curve is at `target` or above it for the first time.

    Args:
        curve: (x, y), x ascending.
    """
    for place, (x, y) in enumerate(curve):
        if y >= target:
            if place == 0:
                return Crossing(x, True)
            x0, y0 = curve[place - 1]
            return Crossing(x0 + (x - x0) * (target - y0) / (y - y0), False)
    return None


def seeds_that_count(curves: Curves, contender: str, task: str) -> tuple[list[int], bool]:
    """Return the seeds whose runs have ended and been evaluated, or, before one has, all; and whether they have."""
    own = [point for point in curves.points if point.contender == contender and task in point.scores]
    ended = sorted(point.seed for point in own if point.mark == END)
    return ended or sorted({point.seed for point in own}), bool(ended)


def mean_curve(curves: Curves, contender: str, task: str, cost: str) -> list[CurvePoint]:
    """Return the mean over the seeds that count, at the marks that all of them have, by mean cost."""
    seeds, _ = seeds_that_count(curves, contender, task)
    marks: dict[str, list[Point]] = {}
    for point in curves.points:
        if point.contender == contender and point.seed in seeds and task in point.scores:
            marks.setdefault(point.mark, []).append(point)
    found = []
    for points in marks.values():
        if len(points) == len(seeds):
            scores = [point.scores[task] for point in points]
            spread = statistics.stdev(scores) if len(scores) > 1 else None
            x = statistics.fmean(point.cost[cost] for point in points)
            found.append(CurvePoint(x, statistics.fmean(scores), spread))
    return sorted(found, key=lambda point: point.x)


def target_of(curves: Curves, task: str) -> float | None:
    """Return the baseline's final score, the mean over its seeds that have ended; None before one has."""
    final = [point.scores[task] for point in curves.points
             if point.contender == curves.baseline and point.mark == END and task in point.scores]
    return statistics.fmean(final) if final else None


def standings(curves: Curves, task: str) -> list[Standing]:
    """Return how each contender stands, in the order of the suite."""
    target = target_of(curves, task)
    found: dict[str, Standing] = {}
    for name, label in curves.labels.items():
        seeds, ended = seeds_that_count(curves, name, task)
        if not seeds:
            continue
        last = {seed: max(_own(curves, name, task, seed), key=lambda point: point.cost["images"])
                for seed in seeds}
        final = {seed: point.scores[task] for seed, point in last.items()}
        total = {cost: statistics.fmean(point.cost[cost] for point in last.values()) for cost in COSTS}
        found[name] = standing = Standing(name, label, seeds, ended, final, total)
        if target is None:
            continue
        for cost in COSTS:
            mean = [(x, y) for x, y, _ in mean_curve(curves, name, task, cost)]
            standing.reached[cost] = first_reach(mean, target)
            standing.by_seed[cost] = {
                seed: first_reach(sorted((point.cost[cost], point.scores[task])
                                         for point in _own(curves, name, task, seed)), target)
                for seed in seeds
            }  # fmt: skip
    _test(found, curves, task)
    return list(found.values())


def _own(curves: Curves, contender: str, task: str, seed: int) -> list[Point]:
    return [point for point in curves.points
            if (point.contender, point.seed) == (contender, seed) and task in point.scores]


def _test(found: Mapping[str, Standing], curves: Curves, task: str) -> None:
    base = found.get(curves.baseline)
    if base is None or not base.ended:
        return
    seconds = f"{curves.clock}_s"
    ends = {point.seed: math.log(point.cost[seconds]) for point in curves.points
            if point.contender == base.name and point.mark == END and point.cost[seconds] > 0}
    tested = []
    for standing in found.values():
        if standing is base or not standing.ended:
            continue
        if (test := paired_test(standing.final, base.final)) is not None:
            tested.append((standing, test.p))
        crossings = standing.by_seed[seconds]
        times = {seed: math.log(crossing.x) for seed, crossing in crossings.items() if crossing and crossing.x > 0}
        if len(times) == len(crossings) and (test := paired_test(times, ends)) is not None:
            standing.share_p = test.p
    for (standing, _), p in zip(tested, holm([p for _, p in tested])):
        standing.p = p
