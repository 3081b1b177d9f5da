"""How good the best of so many trials is, with bands that hold for every number of trials at once.

The tuning curve of a method is the median, over repeated searches, of the best score among k independent trials: the
score that k trials reach with probability 1/2. With F the distribution of one trial's score it is the quantile of F at
0.5 ** (1 / k). Bounds of F that hold everywhere at once are bounds of the whole curve, whatever F is. Those here are of
the order statistics, U_(i) = F(y_(i)), each of which has a Beta distribution: between two of its quantiles of one local
level, which is chosen so that all hold together with the probability asked for, exactly.

Source: Lourie, Cho, He, Show your work with confidence: confidence bands for tuning curves (arXiv:2311.09480);
Learned-Miller, DeStefano, A probabilistic upper bound on differential entropy (2008), for the bounds of F.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

_PLACES = 500  # order statistics that are bounded: so many evenly spread ones, and as many of the best


class Curve(NamedTuple):
    """A tuning curve, higher is better, at some numbers of trials."""

    median: np.ndarray  # f64[K]
    low: np.ndarray  # f64[K], -inf where nothing is known
    high: np.ndarray  # f64[K], inf likewise


def tuning_curve(scores: np.ndarray, trials: np.ndarray, level: float = 0.95) -> Curve:
    """Estimate a tuning curve of independent trials.

    Args:
      scores: f64[n], of each trial, higher is better; -inf for one that diverged.
      trials: f64[K], numbers of trials of which the best is asked for; they need be no integers.
      level: the true curve lies between the bounds at all numbers of trials at once with this probability, or more.
    """
    ranked, n = np.sort(np.asarray(scores, np.float64)), len(scores)
    places, low, high = order_bounds(n, level)
    share = 0.5 ** (1 / np.asarray(trials, np.float64))
    median = ranked[np.minimum(np.ceil(share * n).astype(int), n) - 1]
    above = np.searchsorted(low, share)  # the first whose F is at least the share
    below = np.searchsorted(high, share) - 1  # the last whose F is less
    at = ranked[places - 1]
    return Curve(
        median,
        np.where(below >= 0, at[np.maximum(below, 0)], -np.inf),
        np.where(above < len(at), at[np.minimum(above, len(at) - 1)], np.inf),
    )


@cache
def order_bounds(n: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bound those order statistics of n uniform numbers that matter, so that all bounds hold with this probability.

    Returns:
      places i64[m], from 1 for the smallest, and bounds f64[m] below and above.
    """
    from scipy.special import betaincinv  # slow to import, and who reads a result does without

    first = max(1, int(n / 2 - 1.5 * n**0.5))  # worse ones tell nothing of the best of one or more
    spread, best = np.linspace(first, n, min(n, _PLACES)), np.arange(max(first, n - _PLACES + 1), n + 1)
    places = np.unique(np.concatenate([spread, best]).astype(int))

    def bounds(local: float) -> tuple[np.ndarray, np.ndarray]:
        beta = (places, n + 1 - places)
        return betaincinv(*beta, local / 2), betaincinv(*beta, 1 - local / 2)

    least, most = (1 - level) / len(places), 1 - level  # of the local level: by Bonferroni, and of one alone
    for _ in range(30):
        middle = (least * most) ** 0.5
        least, most = (middle, most) if probability(n, places, *bounds(middle)) >= level else (least, middle)
        if most / least < 1.0005:
            break
    return places, *bounds(least)


def probability(n: int, places: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Compute the probability that order statistics of n uniform numbers all lie between bounds.

    It follows the count of numbers up to t, as t goes from one bound to the next: up to the lower bound of the i-th
    smallest there are fewer than i, up to its upper bound there are i at least. The count is a Poisson process that has
    n in the end (Moscovich, Nadler, arXiv:1503.04363).

    Args:
      places: i64[m], from 1, ascending.
      low, high: f64[m], ascending.

    >>> round(probability(1, np.array([1]), np.array([0.25]), np.array([0.75])), 12)
    0.5
    """
    from scipy.special import gammaln

    factorials = gammaln(np.arange(n + 1) + 1)
    lower = [(float(t), 0, int(i)) for t, i in zip(low, places, strict=True)]
    upper = [(float(t), 1, int(i)) for t, i in zip(high, places, strict=True)]
    first, chances, before = 0, np.ones(1), 0.0  # of the counts first, first + 1, ...
    ceiling = np.append(places - 1, n)  # the most that may be counted until the next lower bound
    passed = 0
    for t, is_high, place in sorted([*lower, *upper, (1.0, 1, n)]):
        rate = n * (t - before)
        if rate > 0:
            most = int(ceiling[passed])
            counts = np.arange(most - first + 1)
            steps = np.exp(counts * np.log(rate) - rate - factorials[counts])
            chances = np.convolve(chances, steps)[: len(counts)]
        before = t
        if is_high:
            drop = max(place - first, 0)
            chances, first = chances[drop:], first + drop
        else:
            chances, passed = chances[: place - first], passed + 1
        if not len(chances):
            return 0.0
    return float(chances[0] / np.exp(n * np.log(n) - n - factorials[n]))
