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

from typing import NamedTuple

import numpy as np

from jaxhp.intervals import components

_ADDED = 0.4  # standard deviations of luck added: less is noisier, more chooses worse than the search did
_DRAWS = 4000  # of luck, in pairs of opposite ones
_COMPETE = 300  # best trials that may become finalists: of 100,000 equal ones they give 1.55, and 4,000 give 1.54
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


def luck(outcomes: np.ndarray, fold: np.ndarray | None = None, seeds: int = 1, fresh: int = 1) -> Luck:
    """The luck of P trials, two at least, where what is common to all of them counts for nothing.

    Args:
      outcomes: [P, S, n] of S seeds, two at least, that are the same for every trial.
      fold: see `intervals.crossed_mean`.
      seeds: of a search score.
      fresh: seeds of a mean in the finals.
    """
    own = np.asarray(outcomes, np.float64) - np.mean(outcomes, 0, np.float64)
    lost = len(own) / (len(own) - 1)  # of the variance, with the mean
    lasting = np.mean([parts.examples - parts.both for parts in (components(rows, fold) for rows in own)])
    means = own.mean(2)
    passing = ((means - means.mean(1, keepdims=True)) ** 2).sum() / (means.shape[1] - 1) / len(means)
    return Luck(max(float(lasting * lost), 0.0), float(passing * lost / seeds), float(passing * lost / fresh))


def optimism(
    scores: np.ndarray, finalists: np.ndarray, means: np.ndarray, near: np.ndarray, slack: float, of: Luck
) -> Optimism:
    """Searches and finals with a little more luck, over and over.

    What a trial that only then becomes a finalist would show there is drawn as for one more like the finalists: its
    mean from the normal distribution around what its score predicts, its `near` at any place among theirs.

    Args:
      scores: f64[N], of the search's trials, higher is better; NaN for those that diverged.
      finalists: i64[P], which of them were finalists.
      means: f64[P], theirs in the finals; NaN for one that diverged there.
      near: f64[P], by which the highest is chosen among those within `slack` of the best mean.
      of: the luck of these trials.
    """
    count, size = len(finalists), float(np.sqrt(of.lasting))
    if size == 0:
        return Optimism(0.0, 0.0)
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-scores, kind="stable")
    final = np.isin(order, finalists)
    competing = final | (np.arange(len(order)) < _COMPETE)
    score, own = scores[order[competing]], np.flatnonzero(final[competing])
    by_score = np.argsort(-scores[finalists], kind="stable")
    rest, place = means[by_score], np.argsort(np.argsort(near[by_score])) + 1.0

    # The score predicts the mean with this slope, up to a rest. Both are shrunk, so that with more luck the scores, the
    # means, and what they have in common vary as before.
    spread, more = max(_variance(scores), of.passing + of.lasting), _ADDED**2 * of.lasting
    slope, shrunk = (1.0 - of.passing / total for total in (spread, spread - more))
    rest, unexplained = rest - slope * score[own], slope * of.passing + of.fresh
    score = score * np.sqrt(1.0 - more / spread)
    left = max(unexplained - more * (1.0 - slope) * (1.0 - shrunk), 0.0)
    rest = rest * np.sqrt(left / unexplained) if unexplained else rest

    rng = np.random.default_rng(0)
    added = rng.normal(size=(_DRAWS // 2, len(score))) * size
    added = np.concatenate([added, -added])
    top = np.argpartition(-score - _ADDED * added, count - 1, axis=1)[:, :count]
    finalist = np.full(len(score), -1)
    finalist[own] = np.arange(count)
    finalist, entered = finalist[top], finalist[top] < 0
    like = rng.normal(size=top.shape) + rng.normal(size=(_DRAWS, 1)) / np.sqrt(count)  # around a mean of so many
    healthy = np.isfinite(rest)
    rest = np.where(entered, rest[healthy].mean() + np.sqrt(left) * like, np.where(healthy, rest, -np.inf)[finalist])
    shown = rest + shrunk * score[top] + _ADDED * np.take_along_axis(added, top, 1)
    place = np.where(entered, rng.uniform(0, count + 1, top.shape), place[finalist])
    candidate = shown >= shown.max(1, keepdims=True) - slack
    chosen = top[np.arange(_DRAWS), np.where(candidate, place, -1.0).argmax(1)]
    known = np.unique(chosen)
    dealt = [  # to each known [i] where each [j] is chosen, per unit of what was added; from either half of the draws
        added[half][:, known].T @ (chosen[half, None] == known) / (_ADDED * _DRAWS / 2)
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    return Optimism(float(np.trace(sum(dealt))) / 2, max(float((dealt[0] * dealt[1].T).sum()), 0.0))


def _variance(scores: np.ndarray) -> float:
    """Of the normal distribution whose top is spread as that of f64[N] scores."""
    from scipy.special import ndtri  # slow to import, see `intervals`

    n = len(scores)
    top = np.sort(scores[np.isfinite(scores)])[::-1][: max(int(_TAIL * n), 2)]
    expected = -ndtri((np.arange(len(top)) + 0.5) / n)
    expected -= expected.mean()
    return float((expected * top).sum() / (expected**2).sum()) ** 2
