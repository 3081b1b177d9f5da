"""Means over seeds and examples, and what they are uncertain by.

A network's outcome on an example varies with its seed and with the example. Resampling both (the pigeonhole bootstrap
of Owen, arXiv:0712.1111) is the honest way to an interval; `crossed_mean` gives its variance in closed form, so that it
holds for few seeds too, and `probability_best` draws it, for statements about several trials at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

_DRAWS, _AT_ONCE = 1000, 100
_PEERS = 4.0  # degrees of freedom that other trials may add


class Mean(NamedTuple):
    """A mean with its standard error, which has so many degrees of freedom."""

    mean: float
    stderr: float
    dof: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Compute the bounds (low, high) of the interval of this level, from Student's distribution."""
        from scipy.special import stdtrit  # slow to import, and whoever reads a result does not need it

        half = float(stdtrit(self.dof, (1 + level) / 2)) * self.stderr if self.stderr > 0 else 0.0
        return self.mean - half, self.mean + half

    def below(self, truth: float = 0.0) -> float:
        """Compute the probability of a mean at most this large where the truth is `truth`."""
        if self.stderr == 0:
            return float(self.mean >= truth)
        from scipy.special import stdtr

        return float(stdtr(self.dof, (self.mean - truth) / self.stderr))

    def less(self, mean: float, variance: float) -> Mean:
        """Subtract a number that is known up to this variance."""
        total = self.stderr**2 + variance
        return Mean(self.mean - mean, total**0.5, self.dof * (total / self.stderr**2) ** 2 if self.stderr else self.dof)


class Components(NamedTuple):
    """Parts of the variance of a mean over S seeds and n examples."""

    networks: Float64[np.ndarray, "K"]  # of the seeds' means, for the networks of each fold
    examples: float  # of the examples' means
    both: float  # the part that either contains, of what is left; 0 with one seed


def components(outcomes: Float[np.ndarray, "S n"], fold: Int[np.ndarray, "n"] | None = None) -> Components:
    """Split the variance of a mean over seeds and examples into its parts.

    Args:
      outcomes: [S, n], of S seeds on n examples.
      fold: see `crossed_mean`.

    Returns:
      Parts in the square of the outcomes' unit; the networks' part is 0 with one seed.
    """
    y = np.asarray(outcomes, np.float64)
    seeds, n = y.shape
    by_example = y.mean(0)
    examples = float(by_example.var(ddof=1) / n) if n > 1 else 0.0
    networks, both = _between(y, fold) / max(seeds - 1, 1) / seeds, 0.0
    if seeds > 1 and n > len(networks):
        cells, of = _cells(y, fold)
        rest = y - cells[:, of] - by_example + cells.mean(0)[of]
        both = float((rest**2).sum() / ((seeds - 1) * (n - len(networks))) / (seeds * n))
    return Components(networks, examples, both)


def crossed_mean(
    outcomes: Float[np.ndarray, "S n"],
    fold: Int[np.ndarray, "n"] | None = None,
    more: Sequence[Float[np.ndarray, "_ n"]] = (),
    peers: Sequence[Float[np.ndarray, "_ n"]] = (),
) -> Mean:
    """Take the mean over seeds and examples, both of which are samples.

    Its variance is that of the seeds' means, plus that of the examples' means, less the part that both contain. With
    one seed and no other it is that of the examples alone.

    Args:
      outcomes: [S, n], of S seeds on n examples.
      fold: i32[n], for each example the fold whose networks it was measured on, one a seed; None: one network a seed.
      more: other seeds' outcomes, each [S', n], which tell of the spread between seeds but not of the mean.
      peers: likewise of other trials that are much like this one. All of them count for as much as 4 more seeds at
        most: a variance known from few seeds is moderated by that of its peers (Smyth, doi:10.2202/1544-6115.1027).

    Returns:
      The mean, its standard error, and Satterthwaite's degrees of freedom.
    """
    y = np.asarray(outcomes, np.float64)
    seeds, n = y.shape
    parts = components(y, fold)
    spread, dof = sum((_between(rows, fold) for rows in more), _between(y, fold)), seeds - 1 + _freedom(more)
    if free := _freedom(peers):
        share = min(1.0, _PEERS / free)
        spread, dof = spread + share * sum(_between(rows, fold) for rows in peers), dof + share * free
    if dof == 0:
        return Mean(float(y.mean()), float(np.sqrt(parts.examples)), float(max(n - 1, 1)))
    networks = spread / dof / seeds  # [K]
    alone = max(parts.examples - parts.both, 0.0)
    variance = networks.sum() + alone
    weights = (networks**2).sum() / dof + alone**2 / max(n - 1, 1)
    return Mean(float(y.mean()), float(np.sqrt(variance)), float(variance**2 / weights) if weights > 0 else float(dof))


def _cells(
    rows: Float[np.ndarray, "S n"], fold: Int[np.ndarray, "n"] | None
) -> tuple[Float64[np.ndarray, "S K"], Int[np.ndarray, "n"]]:
    """Take the means of outcomes over the examples of each of K folds, and give each example's fold."""
    fold = np.zeros(rows.shape[1], np.int32) if fold is None else fold
    return np.asarray(rows, np.float64) @ (np.eye(fold.max() + 1)[fold] / np.bincount(fold)), fold


def _between(rows: Float[np.ndarray, "S n"], fold: Int[np.ndarray, "n"] | None) -> Float64[np.ndarray, "K"]:
    """Sum over seeds the squares of what each fold's networks add to the mean, around their own mean."""
    cells, of = _cells(rows, fold)
    return ((cells - cells.mean(0)) ** 2).sum(0) * (np.bincount(of) / len(of)) ** 2


def _freedom(blocks: Sequence[Float[np.ndarray, "_ n"]]) -> int:
    """Count the degrees of freedom of the spread between seeds within blocks."""
    return sum(len(rows) - 1 for rows in blocks)


def probability_best(outcomes: Sequence[Float[np.ndarray, "_ n"]], seed: int = 0) -> Float64[np.ndarray, "P"]:
    """Estimate how often each of P trials is the best where seeds and examples are drawn again.

    Args:
      outcomes: for each trial [S_i, n], higher is better: its first S_i seeds, which are the same seeds for all. Each
        trial is compared with the first one on the seeds that both have.
      seed: of 1000 draws of exponential weights (the Bayesian bootstrap, which never leaves a trial without seeds).

    Returns:
      f64[P], shares that add up to 1.
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
