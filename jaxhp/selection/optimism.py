"""How much too good the chosen trial looks because validation examples that the search used happen to suit it.

Fresh replicates do not take this luck away: it is the same for every seed. But how large it is between trials can be
measured (`lasting`), and so can what the choice makes of it, without anything held out. Draw more luck of the same
kind, add a little of it to every trial, and choose again: the luck that the trial chosen now was dealt, divided by
how little was added, has the expectation of the luck that the search has chosen by. This is Stein's identity, used as
in the coupled bootstrap (Oliveira, Lei and Tibshirani, arXiv:2111.09447); it assumes nothing of how good the trials
are, only that luck is about normal, as a mean over examples is. Its variance is that of second-order Stein (Bellec
and Zhang, arXiv:1811.04121).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxhp.selection.budgets import latest, replayed
from jaxhp.selection.intervals import components

_ADDED = 0.4  # standard deviations of luck added: less is noisier, more chooses worse than the search did
_DRAWS = 4000  # of luck, in pairs of opposite ones
_COMPETE = 300  # best trials that may become finalists: of 100,000 equal ones they give 1.55, and 4,000 give 1.54
_AT_ONCE = 2_000_000  # numbers of luck that are drawn together
_TAIL = 0.25  # share of the trials whose scores tell how thin the top is


class Luck(NamedTuple):
    """Variances between trials, of what is a trial's own.

    Attributes:
      lasting: of luck that every seed has again, since the same examples suit the same trial.
      passing: of a search score, by its seeds; it is gone with fresh replicates.
      fresh: likewise of a mean in the finals.
    """

    lasting: float
    passing: float
    fresh: float


class Optimism(NamedTuple):
    """What to take off the chosen trial's mean, and what that adds to the mean's variance."""

    mean: float
    variance: float


class Curves(NamedTuple):
    """Where the best of a trial's epochs counts: scores after each of them, and what luck does to such curves.

    Attributes:
      all: f[N, E], of the search's trials; higher is better, NaN was not measured.
      luck: f[E, E], the covariance of luck at one epoch and at another, see `luck_of_epochs`.
    """

    all: Float[np.ndarray, "N E"]
    luck: Float[np.ndarray, "E E"]


NO_OPTIMISM = Optimism(0.0, 0.0)


def luck(
    outcomes: Float[np.ndarray, "P S n"], fold: Int[np.ndarray, "n"] | None = None, seeds: int = 1, fresh: int = 1
) -> Luck:
    """Measure the luck of P trials, two at least, where what is common to all of them counts for nothing.

    Args:
      outcomes: [P, S, n] of S seeds, two at least, that are the same for every trial.
      fold: see `intervals.crossed_mean`.
      seeds: of a search score.
      fresh: seeds of a mean in the finals.

    Returns:
      Variances in the square of the outcomes' unit.
    """
    own = np.asarray(outcomes, np.float64) - np.mean(outcomes, 0, np.float64)
    lost = len(own) / (len(own) - 1)  # of the variance, with the mean
    lasting = np.mean([parts.examples - parts.both for parts in (components(rows, fold) for rows in own)])
    means = own.mean(2)
    passing = ((means - means.mean(1, keepdims=True)) ** 2).sum() / (means.shape[1] - 1) / len(means)
    return Luck(max(float(lasting * lost), 0.0), float(passing * lost / seeds), float(passing * lost / fresh))


def luck_of_epochs(blocks: Sequence[Mapping[int, Float[np.ndarray, "E"]]]) -> Float[np.ndarray, "E E"]:
    """Estimate the covariance of trials' own luck at one epoch and at another.

    What every other example shows more or less than all do is luck of the same size. What is common to all trials
    counts for nothing. A product of means over other replicates is without the noise of seeds, which lets the best
    epoch move about more than luck does.

    Args:
      blocks: of each block of fresh replicates that, by trial; those of a block are among those of the one before.
    """
    own = [{p: row - np.mean([*block.values()], 0) for p, row in block.items()} for block in blocks if len(block) > 1]
    pairs = [*combinations(own, 2)] or [(block, block) for block in own]
    products = [len(b) / (len(b) - 1) * np.outer(a[p], b[p]) for a, b in pairs for p in b]
    size = len(next(iter(blocks[0].values())))
    found = np.mean(products, 0) if products else np.zeros((size, size))
    return (found + found.T) / 2


def optimism(
    scores: Float[np.ndarray, "N B"],
    means: Float[np.ndarray, "P"],
    near: Float[np.ndarray, "P"],
    around: Int[np.ndarray, "P M"],
    slack: float,
    of: Luck,
    seed: Sequence[int] = (0,),
    curves: Curves | None = None,
) -> Optimism:
    """Estimate how much too good the chosen trial looks, by searches and finals with a little more luck, over and over.

    What a trial would show that only then goes on, or becomes a finalist, is drawn as for one more like the others
    there: its score from the normal distribution around the one before, its mean from that around what its score
    predicts, its `near` at any place among theirs. Luck is taken to be the same at every budget, and a score to tell of
    the next one all that those before it tell. Where seeds deal each network new luck at each budget, that takes off
    about a fifth too much.

    Args:
      scores: f64[N, B], of the search's trials after each budget, see `budgets.py`; the P finalists first. Higher is
        better.
      means: f64[P], the finalists' in the finals; NaN for one that diverged there.
      near: f64[P], by which the highest is chosen among those within `slack` of the best mean.
      around: i64[P, M], the rows of `scores` whose mean `near` is, so that luck of a trial is for its neighbours.
      slack: in the scores' unit.
      of: the luck of these trials.
      curves: where the best of a trial's epochs counts, those of the N trials, in the order of `scores`; None: one
        score is the last.
      seed: of what is drawn. One that differs from search to search keeps their errors apart.

    Returns:
      What to take off, in the scores' unit, and its variance.
    """
    count, size = len(means), float(np.sqrt(of.lasting))
    if size == 0:
        return NO_OPTIMISM

    # The score predicts the mean with this slope, up to a rest. Both are shrunk, so that with more luck the scores, the
    # means, and what they have in common vary as before.
    score, reached = latest(scores)
    spread, more = max(_variance(score), of.passing + of.lasting), _ADDED**2 * of.lasting
    slope, shrunk = (1.0 - of.passing / total for total in (spread, spread - more))
    rest, unexplained = means - slope * score[:count], slope * of.passing + of.fresh
    left = max(unexplained - more * (1.0 - slope) * (1.0 - shrunk), 0.0)
    rest = rest * np.sqrt(left / unexplained) if unexplained else rest
    scores, near = (values * np.sqrt(1.0 - more / spread) for values in (scores, near))

    order = np.lexsort((-score, -reached))[: int(np.sum(reached >= 0))]
    competing = order[(order < count) | (np.arange(len(order)) < _COMPETE)]
    rng = np.random.default_rng(seed)
    added, dealt = _drawn(rng, size, curves, competing)
    score, level = replayed(scores, competing, _ADDED * added, rng)
    apart = np.ptp(score + _ADDED * added) + 1.0  # a trial that went on stands before all that did not
    top = np.argpartition(-score - _ADDED * added - apart * level, count - 1, axis=1)[:, :count]
    finalist = np.minimum(competing[top], count)
    entered = finalist == count
    like = rng.normal(size=top.shape) + rng.normal(size=(_DRAWS, 1)) / np.sqrt(count)  # around a mean of so many
    healthy = np.isfinite(rest)
    rest = np.append(np.where(healthy, rest, -np.inf), rest[healthy].mean())[finalist]
    rest = np.where(entered, rest + np.sqrt(left) * like, rest)
    score = np.where(entered, np.take_along_axis(score, top, 1), latest(scores)[0][competing][top])
    shown = rest + shrunk * score + _ADDED * np.take_along_axis(dealt, top, 1)
    nearest = (around[:, :, None] == competing).sum(1) / max(around.shape[1], 1)  # [P, K]
    places = np.argsort(np.argsort(near + _ADDED * added @ nearest.T)) + 1.0
    place = np.take_along_axis(np.pad(places, ((0, 0), (0, 1))), finalist, 1)
    place = np.where(entered, rng.uniform(0, count + 1, top.shape), place)
    candidate = shown >= shown.max(1, keepdims=True) - slack
    chosen = top[np.arange(_DRAWS), np.where(candidate, place, -1.0).argmax(1)]
    known = np.unique(chosen)
    given = [  # to each known [i] where each [j] is chosen, per unit of what was added; from either half of the draws
        dealt[half][:, known].T @ (chosen[half, None] == known) / (_ADDED * _DRAWS / 2)
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    return Optimism(float(np.trace(sum(given))) / 2, max(float((given[0] * given[1].T).sum()), 0.0))


def _drawn(
    rng: np.random.Generator, size: float, curves: Curves | None, competing: Int[np.ndarray, "K"]
) -> tuple[Float[np.ndarray, "draws K"], Float[np.ndarray, "draws K"]]:
    """Draw luck, in pairs of opposite draws.

    Where the best of a trial's epochs counts, luck may move it to another epoch. It is drawn as other trials have it.

    Args:
      size: standard deviation.
      curves: see `optimism`.
      competing: i64[K], rows.

    Returns:
      what a small part of the luck does to each score, per unit of that part, and the luck of the score, f64[draws, K].
    """
    half, count = _DRAWS // 2, len(competing)
    alone = _around_mean(curves.luck) if curves is not None else np.zeros((1, 1))
    if curves is None or np.trace(alone) <= 0:
        added = rng.normal(size=(half, count)) * size
        added = np.concatenate([added, -added])
        return added, added
    variances, parts = np.linalg.eigh(alone)
    variances = np.maximum(variances, 0.0)
    own = min(np.trace(alone) / len(alone), size**2)  # so much of the variance an epoch does not share with all others
    root = (parts * np.sqrt(variances * (own * len(alone) / variances.sum()))).T
    known = np.where(np.isnan(curves.all), -np.inf, curves.all)[competing]
    added, dealt = (np.empty((_DRAWS, count)) for _ in range(2))
    for rows in np.array_split(np.arange(half), max(1, half * known.size // _AT_ONCE)):
        more = rng.normal(size=(len(rows), *known.shape)) @ root
        more += np.sqrt(size**2 - own) * rng.normal(size=(len(rows), count, 1))
        for at, luck in ((rows, more), (half + rows, -more)):
            best = (known + _ADDED * luck).argmax(2)
            dealt[at] = np.take_along_axis(luck, best[:, :, None], 2)[:, :, 0]
            added[at] = dealt[at] + (known[np.arange(count), best] - known.max(1)) / _ADDED
    return added, dealt


def _around_mean(covariance: Float[np.ndarray, "E E"]) -> Float[np.ndarray, "E E"]:
    """Return the covariance of what is left of E numbers without their mean."""
    left = covariance - covariance.mean(0)
    return left - left.mean(1, keepdims=True)


def _variance(scores: Float[np.ndarray, "N"]) -> float:
    """Estimate the variance of the normal distribution whose top is spread as that of the scores; NaN is the worst."""
    from scipy.special import ndtri  # slow to import, see `intervals`

    n = len(scores)
    top = np.sort(scores[np.isfinite(scores)])[::-1][: max(int(_TAIL * n), 2)]
    expected = -ndtri((np.arange(len(top)) + 0.5) / n)
    expected -= expected.mean()
    return float((expected * top).sum() / (expected**2).sum()) ** 2
