"""The scores of a search's rounds, of what is known of its trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxhp.trials import Trials


def round_scores(
    trials: Trials, rungs: Sequence[tuple[int, int]], metric: str, mode: str
) -> list[tuple[int, np.ndarray]]:
    """Return of each round its epochs, and what its trials had reached by then.

    A round goes on with trials of the round before where it trains further; else its trials are new.

    Args:
      trials: with their curves.
      rungs: trials and epochs of every round.
      metric, mode: what is read off the curves; of the epochs until then the best where the trials' scores are that.

    Returns:
      Epochs and f64[P] of the rounds that have trials, NaN for what diverged.
    """
    curve = np.asarray(trials.curve[f"valid_{metric}"], np.float64)
    if len(trials) and trials.epoch[0] == "best":
        lost = np.isnan(curve)
        curve = np.fmax.accumulate(curve, 1) if mode == "max" else np.fmin.accumulate(curve, 1)
        curve[np.logical_or.accumulate(lost, 1)] = np.nan
    budgets = [epochs for _, epochs in rungs]
    begins = 0
    found = []
    for number, epochs in enumerate(budgets):
        if number and epochs <= budgets[number - 1]:
            begins = number
        there = (trials.round >= begins) & (trials.round <= number) & (trials.epochs >= epochs)
        if there.any() and epochs <= curve.shape[1]:
            found.append((epochs, curve[there, epochs - 1]))
    return found
