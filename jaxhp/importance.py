"""Which hyperparameters made the difference: the variance of the outcome, split by parameters and pairs (ANOVA).

Two outcomes are split. `top` is whether a config is among the best tenth: its shares are those of PED-ANOVA
(arXiv:2304.10255), which are the variances of P(top | x_d), and say what it takes to be good. `score` is the score
itself, diverged trials counting as the worst: its shares say what moves the score anywhere in the space. Both are taken
over the whole space, uniformly on the axes of the unit cube, wherever the search has looked most: the outcome is
regressed on orthonormal polynomials of each parameter and products of two, so that a share is a sum of squared
coefficients, less what noise adds to them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxhp.space import Choice, Space
from jaxhp.types import Status, Trial

_DEGREES = ((1, 0), (2, 1), (3, 2), (4, 2), (6, 3), (8, 4))  # of single parameters and of each side of a pair
_DRAWS = 100
_LEAST = 16  # trials


class Share(NamedTuple):
    """A share of the variance, 0 to 1, and its standard error over trials (bootstrap)."""

    share: float
    stderr: float


class Edge(NamedTuple):
    """Where training stops being stable: trials diverge above `value`, with a 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Importance(NamedTuple):
    """What mattered.

    Attributes:
      top, score: for each parameter its share of the variance of being in the best tenth, and of the score.
      top_pairs, score_pairs: for each pair of parameters what they do together beyond what each does alone.
      edges: for each parameter that tells diverged trials from others, where they begin.
      trials: how many trials this is based on.
    """

    top: dict[str, Share]
    score: dict[str, Share]
    top_pairs: dict[tuple[str, str], Share]
    score_pairs: dict[tuple[str, str], Share]
    edges: dict[str, Edge]
    trials: int

    @property
    def top_pair(self) -> tuple[str, str] | None:
        """The pair with the strongest interaction in `score`; None with one parameter."""
        return max(self.score_pairs, key=lambda pair: self.score_pairs[pair].share, default=None)

    def __str__(self) -> str:
        lines = [f"{'':24s}{'best tenth':>14s}{'score':>16s}"]
        for name in sorted(self.score, key=lambda n: -self.score[n].share):
            lines.append(f"{name:24s}{_text(self.top[name])}{_text(self.score[name])}")
        pair = self.top_pair
        if pair is not None:
            lines.append(f"{' x '.join(pair):24s}{_text(self.top_pairs[pair])}{_text(self.score_pairs[pair])}")
        for name, edge in self.edges.items():
            lines.append(f"diverges above {name} = {edge.value:.3g} (95% interval {edge.low:.3g} to {edge.high:.3g})")
        return "\n".join(lines)


def importance(space: Space, trials: Sequence[Trial], mode: str, top: float = 0.1) -> Importance:
    """Splits the variance of what trials reached between their parameters.

    Args:
      trials: of a search over `space`, at least 16.
      mode: "max" if a larger score is better, else "min".
      top: the share of trials that counts as the best.

    Raises:
      ValueError: there are too few trials, or all have the same score.
    """
    seen = [trial for trial in trials if trial.status is not Status.RUNNING]
    if len(seen) < _LEAST:
        raise ValueError(f"importance: expected at least {_LEAST} finished trials, got {len(seen)}")
    if not 0 < top < 1:
        raise ValueError(f"top: expected a share in (0, 1), got {top!r}")
    unit = np.stack([space.unit(trial.config) for trial in seen]).astype(np.float64)
    score = np.asarray([trial.score for trial in seen], np.float64) * (1 if mode == "max" else -1)
    healthy = np.isfinite(score)
    if not healthy.any() or np.ptp(score[healthy]) == 0:
        raise ValueError("importance: expected trials with different scores, got only equal or diverged ones")
    score = np.where(healthy, score, score[healthy].min())
    good = np.zeros(len(score))
    good[np.argsort(-score, kind="stable")[: max(1, round(top * len(score)))]] = 1.0
    in_top, in_score = _Decomposition(space, unit, good), _Decomposition(space, unit, score)
    edges = {
        name: edge
        for column, (name, parameter) in enumerate(space.parameters.items())
        if not isinstance(parameter, Choice) and (edge := _edge(unit[:, column], ~healthy, parameter)) is not None
    }
    return Importance(in_top.single, in_score.single, in_top.pairs, in_score.pairs, edges, len(seen))


class _Decomposition:
    """ANOVA shares of an outcome f64[N] over points f64[N, D].

    The degree of the polynomials is the one with the smallest leave-one-out error.
    """

    def __init__(self, space: Space, unit: np.ndarray, outcome: np.ndarray):
        names = space.names
        outcome = (outcome - outcome.mean()) / outcome.std()
        fits = []
        for degree, pair_degree in _DEGREES:
            bases = [_basis(p, unit[:, i], degree) for i, p in enumerate(space.parameters.values())]
            terms: dict[tuple[str, ...], np.ndarray] = {(name,): b for name, b in zip(names, bases, strict=True)}
            for a, b in itertools.combinations(range(len(names)) if pair_degree else (), 2):
                left, right = bases[a][:, : _width(space, a, pair_degree)], bases[b][:, : _width(space, b, pair_degree)]
                terms[names[a], names[b]] = (left[:, :, None] * right[:, None, :]).reshape(len(unit), -1)
            design = np.concatenate([np.ones((len(unit), 1)), *terms.values()], 1)
            if design.shape[1] <= len(unit) / 3:
                fits.append((_leave_one_out(design, outcome), design, terms))
        if not fits:
            fits.append((0.0, np.ones((len(unit), 1)), {}))
        _, design, terms = min(fits, key=lambda fit: fit[0])
        owner = np.repeat(np.arange(len(terms)), [term.shape[1] for term in terms.values()])
        rng = np.random.default_rng(0)
        ones = np.ones(len(unit))
        shares = _shares(design, outcome, ones, owner, len(terms))
        draws = [
            _shares(design, outcome, rng.multinomial(len(unit), ones / len(unit)).astype(float), owner, len(terms))
            for _ in range(_DRAWS)
        ]
        errors = np.std(draws, axis=0)
        found = {term: Share(float(s), float(e)) for term, s, e in zip(terms, shares, errors, strict=True)}
        none = Share(0.0, 0.0)
        self.single = {name: found.get((name,), none) for name in names}
        self.pairs = {pair: found.get(pair, none) for pair in itertools.combinations(names, 2)}


def _basis(parameter: object, u: np.ndarray, degree: int) -> np.ndarray:
    """f64[N, K], functions of u with mean 0 and variance 1, uncorrelated, for u uniform on [0, 1]."""
    if isinstance(parameter, Choice):
        count = len(parameter.values)
        cell = np.minimum((u * count).astype(int), count - 1)
        contrasts = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, : count - 1]]))[0][:, 1:]
        return contrasts[cell] * np.sqrt(count)
    values = np.polynomial.legendre.legvander(2 * u - 1, degree)[:, 1:]
    return values * np.sqrt(2 * np.arange(1, degree + 1) + 1)


def _width(space: Space, axis: int, degree: int) -> int:
    """Columns of a parameter's basis that enter pairs: all of a choice's."""
    parameter = list(space.parameters.values())[axis]
    return len(parameter.values) - 1 if isinstance(parameter, Choice) else degree


def _leave_one_out(design: np.ndarray, outcome: np.ndarray) -> float:
    """Mean squared error of predicting each outcome from the others."""
    gram = design.T @ design + np.eye(design.shape[1])
    half = np.linalg.solve(gram, design.T)
    leverage = np.minimum((design * half.T).sum(1), 0.999)
    return float(np.mean(((outcome - design @ (half @ outcome)) / (1 - leverage)) ** 2))


def _shares(design: np.ndarray, outcome: np.ndarray, weights: np.ndarray, owner: np.ndarray, terms: int) -> np.ndarray:
    """f64[terms]: squared coefficients of each term, less their noise, over the variance of the outcome."""
    weighted = design * weights[:, None]
    inverse = np.linalg.inv(design.T @ weighted + np.eye(design.shape[1]))
    coefficients = inverse @ (weighted.T @ outcome)
    residual = outcome - design @ coefficients
    freedom = max(weights.sum() - design.shape[1], 1.0)
    noise = float((weights * residual**2).sum() / freedom)
    variances = noise * np.einsum("ij,ji->i", inverse @ (design.T @ (design * weights[:, None] ** 2)), inverse)
    squares = np.bincount(owner, coefficients[1:] ** 2 - variances[1:], minlength=terms)
    squares = np.maximum(squares, 0.0)
    return squares / (squares.sum() + noise)


def _edge(u: np.ndarray, diverged: np.ndarray, parameter: object) -> Edge | None:
    """The threshold that best tells diverged trials (above) from others, if it errs in less than half as many trials
    as there are diverged ones."""
    if diverged.sum() < 3 or diverged.all():
        return None

    def threshold(u: np.ndarray, diverged: np.ndarray) -> tuple[float, int]:
        order = np.argsort(u, kind="stable")
        points = np.concatenate([[u[order[0]]], (u[order[1:]] + u[order[:-1]]) / 2, [u[order[-1]]]])
        wrong = np.concatenate([[0], np.cumsum(diverged[order])]) + np.concatenate(
            [np.cumsum(~diverged[order][::-1])[::-1], [0]]
        )
        return float(points[np.argmin(wrong)]), int(wrong.min())

    at, wrong = threshold(u, diverged)
    if wrong > 0.5 * diverged.sum():
        return None
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(u), (200, len(u)))
    low, high = np.quantile([threshold(u[r], diverged[r])[0] for r in rows], [0.025, 0.975])
    value = getattr(parameter, "value")  # noqa: B009
    return Edge(float(value(at)), float(value(low)), float(value(high)))


def _text(share: Share) -> str:
    return f"{share.share:9.3f} ±{share.stderr:.3f}"
