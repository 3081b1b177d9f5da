"""Finals of several objectives: points of the front are measured on fresh replicates, and nothing is chosen by these.

So these numbers know nothing of the luck of seeds by which a trial came to be on the front. The luck of validation
examples that happen to suit it is in them still, unless a holdout was allotted (`Finals.holdout`): how much of that
there is among many objectives is not known as it is for one (`optimism.py`), so nothing is taken off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxhp.selection.contest import by_seed, mean_bias
from jaxhp.selection.intervals import crossed_mean
from jaxhp.selection.verdict import Estimate, Measured, Verdict


def measured(
    trial_id: int,
    outcomes: Mapping[str, np.ndarray],
    bias: Mapping[str, np.ndarray],
    fold: np.ndarray | None,
    *,
    held_out: bool,
    n_tried: int,
) -> Measured:
    """Return a trial's means with their 95% intervals over seeds and examples.

    Args:
      outcomes: metric to f32[R, n], of R fresh replicates on n examples; NaN where an example is not in the
        replicate's fold, or the replicate diverged.
      bias: metric to f32[R], how much too high those are on average; without those that are means.
      fold: i32[n], see `crossed_mean`; None without folds.
      held_out: whether the search has not used these examples.
      n_tried: trials of the search.
    """
    estimates, replicates = {}, 0
    for name, found in outcomes.items():
        seeds, replicates = by_seed(found, None if held_out else fold), len(found)
        mean = low = high = float("nan")
        off = mean_bias(bias[name], found) if name in bias else 0.0
        if np.isfinite(seeds).all():
            of = crossed_mean(seeds, None if held_out else fold).less(off, 0.0)
            mean, (low, high) = of.mean, of.interval()
        estimates[name] = Estimate(mean, low, high, n_tried, replicates, found.shape[1], held_out, None, off)
    return Measured(trial_id, replicates, estimates)


def verdict(points: Sequence[Measured], first: str) -> Verdict:
    """Return what the finals found of a front, whose points are in the order of the first objective in the search.

    The first of them that did not diverge is chosen: the order is the search's, so that the estimate is not of the
    replicates that chose.
    """
    sound = [point for point in points if np.isfinite(point.estimates[first].mean)]
    chosen = sound[0] if sound else points[0]
    return Verdict(chosen.trial_id, chosen.estimates[first] if sound else None, (), tuple(points))
