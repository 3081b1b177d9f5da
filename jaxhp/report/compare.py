"""Two tuned methods side by side: how good is the best of so many trials, and from where on is one surely better."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxhp import words
from jaxhp.report.result import Result
from jaxhp.selection.tuning import tuning_curve
from jaxhp.trials import Status, Trials, signed
from jaxhp.values import Error

_LEAST = 4  # independent trials


class Tuned(NamedTuple):
    """One of the two methods.

    Attributes:
      trials: independent ones that were trained in full.
      left_out: finished ones that are not, since the strategy asked for them by what it had found.
      cost: epochs that a trial is trained, replicates and folds counted.
      median: f64[K], the score that the best trial within each budget reaches with probability 1/2.
      low, high: f64[K], its bounds; infinite where so few trials tell nothing.
    """

    trials: int
    left_out: int
    cost: int
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class Comparison:
    """The tuning curves of two methods, `print` shows them.

    Attributes:
      metric, mode: of both.
      level: the probability with which all bounds of both curves hold at once.
      budget: i64[K], epochs, to which both curves are compared.
      a, b: the methods.
    """

    metric: str
    mode: str
    level: float
    budget: np.ndarray = field(repr=False)
    a: Tuned = field(repr=False)
    b: Tuned = field(repr=False)

    @property
    def better(self) -> np.ndarray:
        """Return i8[K]: 1 where `a` is surely better, -1 where `b` is, 0 where the bounds do not say."""
        above, below = self.a.low > self.b.high, self.b.low > self.a.high
        return (above.astype(np.int8) - below) * (1 if self.mode == "max" else -1)

    def __str__(self) -> str:
        """Write both curves at 1, 2, 4, ... trials, and what follows."""
        lines = [f"{'epochs':>8s}  {'a':>28s}  {'b':>28s}"]
        for k in _doubled(len(self.budget)):
            cells = [_cell(one.median[k], one.low[k], one.high[k]) for one in (self.a, self.b)]
            lines.append(f"{self.budget[k]:8,d}  {cells[0]:>28s}  {cells[1]:>28s}")
        for sign, name in ((1, "a"), (-1, "b")):
            surely = self.budget[self.better == sign]
            if len(surely):
                some = f"{len(surely)} of {len(self.budget)} budgets"
                lines.append(f"{name} is better at {some}, from {surely[0]:,} epochs")
        if not self.better.any():
            lines.append("the bounds do not say which is better")
        lines.append(
            f"median of the best {self.metric} by budget, of {self.a.trials} and {self.b.trials} independent trials; "
            f"all bounds hold at once with probability {self.level:g}"
        )
        for name, one in (("a", self.a), ("b", self.b)):
            if one.left_out:
                lines.append(f"{name}: {one.left_out} trials that were asked for by what was found are left out")
        return "\n".join(lines)


def compare(a: Result, b: Result, level: float = 0.95) -> Comparison:
    """Compare two methods, each tuned by a search of its own, at equal budgets.

    A method is what was searched over: a model with its space. The more is tried, the better is the best, so a method
    that was tried more often looks better than it is. Compared is what the best of as many trials, or of as many epochs
    where a trial of one takes more of them, is worth: the score that a random search of that budget reaches with
    probability 1/2, with bounds that need nothing to be known of the scores' distribution (`selection/tuning.py`).

    That asks for independent trials which are trained in full: all of `hp.Random`; of another strategy those of its
    first round. Scores are those of the search, on its validation data.

    Args:
      a, b: the results, with the same metric and mode.
      level: the probability with which all bounds of both curves hold.

    Raises:
      Error: metrics differ; or a search has fewer than 4 such trials, gave some up early, or was loaded in part.
    """
    if not 0 < level < 1:
        raise Error(f"level: expected a probability between 0 and 1, got {level!r}")
    if (a.metric, a.mode) != (b.metric, b.mode):
        raise Error(f"compare: expected one metric and mode, got {a.metric} ({a.mode}) and {b.metric} ({b.mode})")
    drawn = [_independent(name, result) for name, result in (("a", a), ("b", b))]
    costs = [int(trials.epochs[0]) * trials.replicate_scores.shape[1] for trials in drawn]
    most = min(len(trials) * cost for trials, cost in zip(drawn, costs, strict=True))
    budget = np.arange(max(costs), most + 1, max(costs))
    if not len(budget):
        raise Error("compare: expected searches of like budgets, got one that costs less than a trial of the other")
    sign = 1 if a.mode == "max" else -1
    tuned = []
    for result, trials, cost in zip((a, b), drawn, costs, strict=True):
        scores = np.where(trials.healthy(), signed(trials.score, a.mode), -np.inf)
        found = tuning_curve(scores, budget / cost, 1 - (1 - level) / 2)
        low, high = (found.low, found.high) if sign > 0 else (-found.high, -found.low)
        done = int((~result.trials.having(Status.RUNNING)).sum())
        tuned.append(Tuned(len(trials), done - len(trials), cost, sign * found.median, low, high))
    return Comparison(a.metric, a.mode, level, budget, *tuned)


def _independent(name: str, result: Result) -> Trials:
    """Return the trials of a result that were drawn independently; raises Error where they are not usable."""
    trials = result.whole("compare")
    trials = trials[~trials.having(Status.RUNNING)]
    if (result.strategy or "").startswith("Grid("):
        raise Error(f"compare: expected trials drawn at random for {name}, got those of a grid")
    if not (result.strategy or "").startswith("Random("):
        trials = trials[trials.round == 0]
    if len(trials) < _LEAST:
        raise Error(f"compare: expected at least {_LEAST} trials drawn at random for {name}, got {len(trials)}")
    if len(np.unique(trials.epochs)) > 1:
        raise Error(f"compare: expected trials of {name} trained in full, as of hp.Random, got some given up early")
    return trials


def _doubled(count: int) -> list[int]:
    """Return the places of 1, 2, 4, ... and of the last of so many budgets.

    >>> _doubled(5), _doubled(1)
    ([0, 1, 3, 4], [0])
    """
    return sorted({*(2**power - 1 for power in range(count.bit_length())), count - 1})


def _cell(median: float, low: float, high: float) -> str:
    ends = [words.number(end) if np.isfinite(end) else "?" for end in (low, high)]
    return f"{words.number(median) if np.isfinite(median) else 'diverged'} ({ends[0]} to {ends[1]})"
