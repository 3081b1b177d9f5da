"""Means over seeds and examples, and what they are uncertain by.

A network's outcome on an example varies with its seed and with the example. Resampling both (the pigeonhole bootstrap
of Owen, arXiv:0712.1111) is the honest way to an interval; `crossed_mean` gives its variance in closed form, so that it
holds for few seeds too, and `probability_best` draws it, for statements about several trials at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_DRAWS, _AT_ONCE = 1000, 100


class Mean(NamedTuple):
    """A mean with its standard error, which has so many degrees of freedom."""

    mean: float
    stderr: float
    dof: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high), from Student's distribution."""
        from scipy.special import stdtrit  # slow to import, and whoever reads a result does not need it

        half = float(stdtrit(self.dof, (1 + level) / 2)) * self.stderr if self.stderr > 0 else 0.0
        return self.mean - half, self.mean + half

    def below(self, truth: float = 0.0) -> float:
        """The probability of a mean at most this large where the truth is `truth`."""
        if self.stderr == 0:
            return float(self.mean >= truth)
        from scipy.special import stdtr

        return float(stdtr(self.dof, (self.mean - truth) / self.stderr))


def crossed_mean(outcomes: np.ndarray, fold: np.ndarray | None = None, more: Sequence[np.ndarray] = ()) -> Mean:
    """The mean over seeds and examples, both of which are samples.

    Its variance is that of the seeds' means, plus that of the examples' means, less the part that both contain. With
    one seed it is that of the examples alone.

    Args:
      outcomes: [S, n], of S seeds on n examples.
      fold: i32[n], for each example the fold whose networks it was measured on, one a seed; None: one network a seed.
      more: other seeds' outcomes, each [S', n], which tell of the spread between seeds but not of the mean.

    Returns:
      mean, standard error, and Satterthwaite's degrees of freedom.
    """
    y = np.asarray(outcomes, np.float64)
    seeds, n = y.shape
    fold = np.zeros(n, np.int32) if fold is None else fold
    count = np.bincount(fold)
    average = np.eye(len(count))[fold] / count  # [n, K], averages over the examples of each fold

    def around(rows: np.ndarray) -> np.ndarray:
        """Squares of the networks' means around those of their fold, summed over seeds: [K]."""
        cells = rows @ average
        return ((cells - cells.mean(0)) ** 2).sum(0)

    by_example = y.mean(0)
    examples = by_example.var(ddof=1) / n if n > 1 else 0.0
    dof = seeds - 1 + sum(len(rows) - 1 for rows in more)
    if dof == 0:
        return Mean(float(y.mean()), float(np.sqrt(examples)), float(max(n - 1, 1)))
    spread = sum((around(np.asarray(rows, np.float64)) for rows in more), around(y))
    networks = (count / n) ** 2 * spread / dof / seeds  # [K]
    both = 0.0
    if seeds > 1 and n > len(count):
        cells = y @ average
        rest = y - cells[:, fold] - by_example + cells.mean(0)[fold]
        both = (rest**2).sum() / ((seeds - 1) * (n - len(count))) / (seeds * n)
    alone = max(examples - both, 0.0)
    variance = networks.sum() + alone
    weights = (networks**2).sum() / dof + alone**2 / max(n - 1, 1)
    return Mean(float(y.mean()), float(np.sqrt(variance)), float(variance**2 / weights) if weights > 0 else float(dof))


def probability_best(outcomes: Sequence[np.ndarray], seed: int = 0) -> np.ndarray:
    """f64[P], how often each of P trials is the best where seeds and examples are drawn again.

    Args:
      outcomes: for each trial [S_i, n], higher is better: its first S_i seeds, which are the same seeds for all. Each
        trial is compared with the first one on the seeds that both have.
      seed: of 1000 draws of exponential weights (the Bayesian bootstrap, which never leaves a trial without seeds).
    """
    if not outcomes:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    reference = np.asarray(outcomes[0], np.float64)
    differences = [np.asarray(y[: len(reference)], np.float64) - reference[: len(y)] for y in outcomes]
    shares = np.zeros(len(outcomes))
    for _ in range(_DRAWS // _AT_ONCE):
        seeds = rng.exponential(size=(_AT_ONCE, len(reference)))
        examples = rng.exponential(size=(_AT_ONCE, reference.shape[1]))
        examples /= examples.sum(1, keepdims=True)
        means = []
        for difference in differences:
            weights = seeds[:, : len(difference)]
            means.append((weights * (examples @ difference.T)).sum(1) / weights.sum(1))
        best = np.stack(means) == np.max(means, axis=0)
        shares += (best / best.sum(0)).sum(1)
    return shares / _DRAWS
