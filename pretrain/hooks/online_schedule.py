"""When an encoder is scored while it trains, and what may be spent on it: the arithmetic of `OnlineEvaluationHook`."""
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from mimtransfer.errors import UserError

FAST, FULL = "fast", "full"
_LEAST = 5  # fast evaluations, before a full one is given up


@dataclass(frozen=True)
class OnlineSchedule:
    """After how much training an encoder is scored, in shares of the epochs.

    Args:
        fast: between fast evaluations, in (0, 1]; the first is of the untrained encoder. None: none.
        full: between full ones, in (0, 1]; the last is at the end. None: none.
        budget: images that may be evaluated, as a share of those that are trained, > 0. None: any number.

    Raises:
        UserError: a value out of its range, or neither fast nor full evaluations.
    """

    fast: float | None = 0.05
    full: float | None = 0.5
    budget: float | None = 0.02

    def __post_init__(self) -> None:
        for name in (FAST, FULL):
            share = getattr(self, name)
            if share is not None and not (_is_number(share) and 0 < share <= 1):
                raise UserError(f"OnlineEvaluationHook: got {name}={share!r}; expected a share of the training above 0 "
                                "and up to 1.0, or None")
        if self.budget is not None and not (_is_number(self.budget) and self.budget > 0):
            raise UserError(f"OnlineEvaluationHook: got budget={self.budget!r}; expected a share of the trained images "
                            "above 0, or None")
        if self.fast is None and self.full is None:
            raise UserError("OnlineEvaluationHook: got fast=None and full=None; expected at least one of them")

    def marks(self, epochs: int) -> dict[int, str]:
        """Return whole epochs trained -> `fast` or `full`, as asked for; a share that ends within an epoch counts to
        its end.
        """
        marks = {} if self.fast is None else dict.fromkeys([0, *_ends(self.fast, epochs)], FAST)
        if self.full is not None:
            marks |= dict.fromkeys(_ends(self.full, epochs), FULL)
        return dict(sorted(marks.items()))

    def affordable(self, epochs: int, trained: int, costs: dict[str, int]) -> dict[int, str]:
        """Return the marks that the budget allows.

        The first of these that fits: all; every second, fourth ... of the fast ones, counted from the last, while five
        are left; likewise with no full one but that at the end; with none, down to a fast one at the end, which is made
        whatever it costs.

        Args:
            epochs: of the training.
            trained: images that all epochs show.
            costs: images of a fast and of a full evaluation.
        """
        allowed = math.inf if self.budget is None else self.budget * trained
        chosen: dict[int, str] = {}
        for chosen in _thinner(self.marks(epochs), epochs):
            if sum(costs[kind] for kind in chosen.values()) <= allowed:
                break
        return chosen


def _thinner(marks: dict[int, str], epochs: int) -> Iterator[dict[int, str]]:
    """Yield marks, each time fewer or cheaper, down to a fast one at the end."""
    full = [epoch for epoch, kind in marks.items() if kind == FULL]
    for kept in dict.fromkeys([tuple(full), tuple(full[-1:]), ()]):
        fast = [epoch for epoch in marks if epoch not in kept]
        if not kept and fast[-1] != epochs:
            fast.append(epochs)
        least = min(len(fast), _LEAST) if kept else 1
        step = 1
        while len(fast) and -(-len(fast) // step) >= least:
            yield {epoch: FULL if epoch in kept else FAST for epoch in sorted([*fast[::-step], *kept])}
            if step >= len(fast):
                break
            step *= 2
        if not fast:
            yield dict.fromkeys(kept, FULL)


def _ends(share: float, epochs: int) -> list[int]:
    """Return the ends of equal parts of the training, the end of all among them."""
    part = Fraction(repr(share)) * epochs  # shares as they are written: 0.1 * 30 is more than 3
    return [*range(1, epochs + 1)] if part <= 1 else sorted(
        {*(math.ceil(i * part) for i in range(1, math.floor(epochs / part) + 1)), epochs})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
