"""Trials that were trained to unequal budgets: their scores on one scale, and who would have gone on with others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from jaxhp.trials import Rung, Trial

_FEW = 4  # trials that went on, or fewer, do not tell how the next score depends on the one before


def at_full_budget(trials: Sequence[Trial], metric: str, rungs: Sequence[Rung]) -> Float64[np.ndarray, "N B"]:
    """Bring the trials' scores at each budget to one scale, by what others gained from there on.

    Budgets are compared one step at a time, each by the mean curve of the trials that went on.

    Args:
      trials: N of them.
      metric: the task's.
      rungs: of the search, one a round.

    Returns:
      f64[N, B], after each of B budgets, ascending, that trials were compared at. NaN where a trial had no part: at
      budgets below that of its first round, at those that it did not reach, at all if it diverged.
    """
    healthy = [trial for trial in trials if not trial.diverged_at]
    budgets = np.unique([trial.epochs for trial in healthy]).astype(int)
    found = np.full((len(trials), max(len(budgets), 1)), np.nan)
    for row, trial in zip(found, trials, strict=True):
        if not trial.diverged_at:
            last = int(np.searchsorted(budgets, trial.epochs))
            for column, budget in enumerate(budgets[:last]):
                curve = trial.curve[f"valid_{metric}"][:budget]
                best = np.nanmax if trial.mode == "max" else np.nanmin
                row[column] = best(curve) if trial.epoch == "best" else curve[-1]
            row[last] = trial.score
    gains = np.nanmean(np.diff(found), 0)
    found[:, :-1] += np.cumsum(gains[::-1])[::-1]
    begun = np.asarray([rungs[trial.round].epochs for trial in trials])
    for column, budget in enumerate(budgets):
        found[begun > budget, column] = np.nan
    return found


def latest(scores: Float[np.ndarray, "N B"]) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """Find each trial's last known score.

    Args:
      scores: f64[N, B], NaN is unknown.

    Returns:
      The scores f64[N] and their columns i64[N]; NaN and -1 where none is known.
    """
    known = np.isfinite(scores)
    column = np.where(known.any(1), scores.shape[1] - 1 - known[:, ::-1].argmax(1), -1)
    return np.where(column < 0, np.nan, scores[np.arange(len(scores)), column]), column


def replayed(
    scores: Float[np.ndarray, "N B"],
    rows: Int[np.ndarray, "K"],
    added: Float[np.ndarray, "draws K"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "draws K"], Int[np.ndarray, "draws K"]]:
    """Have the trials compete again, with something added to their scores; as many go on at each budget as did.

    The next score of a trial that only now goes on is drawn as for the others that did, without what is added.

    Args:
      scores: f64[N, B], of all trials, see `at_full_budget`; higher is better.
      rows: i64[K], which of them compete.
      added: f64[draws, K], for each time that they compete.
      rng: draws the scores that nobody measured.

    Returns:
      f64[draws, K], the last score of each without what is added, and i64[draws, K], the column that it is of.
    """
    steps = [_step(before, after) for before, after in itertools.pairwise(scores.T)]
    scores = scores[rows]
    own, last = latest(scores)
    begun = np.isfinite(scores).argmax(1)
    score, level = np.tile(own, (len(added), 1)), np.zeros(added.shape, int)
    alive = np.ones(added.shape, bool)
    for column, step in enumerate(steps):
        for first in range(column + 1):
            (part,) = np.nonzero(begun == first)  # who began at another budget is in another bracket
            count = int(np.sum(last[part] > column))
            if count == np.sum(last[part] >= column):
                continue
            now = np.where(last[part] >= column, scores[part, column], score[:, part])
            rated = np.where(alive[:, part], now + added[:, part], -np.inf)
            on = np.zeros(rated.shape, bool)
            np.put_along_axis(on, np.argpartition(-rated, max(count - 1, 0), axis=1)[:, :count], True, 1)
            drawn = step.mean + step.slope * (now - step.before) + step.stderr * rng.normal(size=now.shape)
            new, gone = on & (last[part] <= column), alive[:, part] & ~on
            score[:, part] = np.where(new, drawn, np.where(gone, now, score[:, part]))
            alive[:, part] &= on
        level[alive] = column + 1
    return score, level


class _Step(NamedTuple):
    """From one budget to the next, of trials that went on."""

    before: float  # mean score
    mean: float  # of the next one
    slope: float  # of that on the one before
    stderr: float  # around it


def _step(before: Float[np.ndarray, "N"], after: Float[np.ndarray, "N"]) -> _Step:
    """Regress the scores at one budget on those at the one before, over the trials that went on."""
    both = np.isfinite(before) & np.isfinite(after)
    if not both.any():
        return _Step(0.0, 0.0, 1.0, 0.0)
    x, y = before[both], after[both]
    told = len(x) > _FEW and np.ptp(x) > 0
    slope = float(np.polynomial.polynomial.polyfit(x, y, 1)[1]) if told else 1.0
    rest = y - slope * x
    free = len(x) - 1 - told
    return _Step(float(x.mean()), float(y.mean()), slope, float(np.sqrt(rest.var() * len(x) / free)) if free else 0.0)
