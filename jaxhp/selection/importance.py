"""Which hyperparameters made the difference: the variance of the outcome, split by parameters and pairs (ANOVA).

Two outcomes are split. `top` is whether a config is among the best tenth: its shares are those of PED-ANOVA
(arXiv:2304.10255), the variances of P(top | x_d) over the axes, and say what it takes to be good. `score` is the score
itself, diverged trials counting as the worst: its shares say what moves the score anywhere in the space. Both are taken
over the whole space, uniformly on the axes of the unit cube, wherever the search has looked most: the outcome is
regressed on orthonormal polynomials of each parameter and products of two, so that a share is a sum of squared
coefficients, less what noise adds to them. (The paper estimates P(top | x_d) by kernels; a series of polynomials
is as good a density estimate, and its noise is known, so that an irrelevant parameter's share is about 0.)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxhp.space.parameters import Parameter
from jaxhp.space.space import Space
from jaxhp.trials import Status, Trial, Trials, order
from jaxhp.values import Error, Value
from jaxhp.words import plain

_DEGREES = [(d, p) for d in (1, 2, 3, 4, 6, 8, 12) for p in range(min(d, 4) + 1)]  # of one, and each side of a pair
_DRAWS = 100  # of the bootstrap over trials
_POINTS = 25  # of a marginal
_LEAST = 16  # trials


class Share(NamedTuple):
    """Give a share of the variance, 0 to 1, and its standard error over trials (bootstrap)."""

    share: float
    stderr: float


class Edge(NamedTuple):
    """Tell where training stops being stable: trials diverge above `value`, with a 95% bootstrap interval.

    All are in the units of the parameter.
    """

    value: float
    low: float
    high: float

    def told(self, name: str) -> str:
        """Say where trials diverge, of the parameter of that name."""
        return f"trials diverge above {name} = {self.value:.3g} (95% interval {self.low:.3g} to {self.high:.3g})"


class Marginal(NamedTuple):
    """Give the mean score over all parameters but one or two, as a function of these.

    Attributes:
      values: of each of the one or two parameters, in the user's units; a choice's are its own.
      mean: f64[n] or f64[n, m], in the units of the score.
      stderr: likewise, over trials (bootstrap).
    """

    values: tuple[list[Value], ...]
    mean: np.ndarray
    stderr: np.ndarray


@dataclass(frozen=True)
class Importance:
    """Tell what mattered; prints as a table.

    Attributes:
      top: each parameter's share in what it takes to be among the best tenth; they sum to 1 (PED-ANOVA).
      score: each parameter's share of the variance of the score, by what it does alone.
      pairs: for each pair, the share of what two parameters do together beyond what each does alone.
      rest: what is left of the score: noise of the seeds, and what takes three parameters or a sharper eye.
      edges: for each parameter that tells diverged trials from others, where they begin.
      trials, epochs: how many trials this is based on, and after how many epochs their scores are compared.
    """

    top: dict[str, Share]
    score: dict[str, Share]
    pairs: dict[tuple[str, str], Share]
    rest: Share
    edges: dict[str, Edge]
    trials: int
    epochs: int
    _fit: _Fit = field(repr=False, compare=False)

    @property
    def top_pair(self) -> tuple[str, str] | None:
        """Name the pair with the strongest interaction; None with one parameter."""
        return max(self.pairs, key=lambda pair: self.pairs[pair].share, default=None)

    def marginal(self, *names: str) -> Marginal:
        """Give the mean score as a function of one or two parameters.

        Raises:
          Error: these are not one or two different parameters of the space.
        """
        known = tuple(self.score)
        if len(names) not in (1, 2) or len(set(names)) < len(names) or not set(names) <= set(known):
            raise Error(f"marginal: expected one or two of {', '.join(known)}, got {', '.join(names) or 'none'}")
        return self._fit.marginal(names)

    def __str__(self) -> str:
        lines = [f"{f'{self.trials} trials at epoch {self.epochs}':32s}{'best tenth':>15s}{'score':>17s}"]
        for name in sorted(self.score, key=lambda n: -self.score[n].share):
            lines.append(f"{name:32s}{_text(self.top[name])}  {_text(self.score[name])}")
        if (pair := self.top_pair) is not None:
            lines.append(f"{' x '.join(pair):32s}{'':15s}  {_text(self.pairs[pair])}")
        lines.append(f"{'noise and all else':32s}{'':15s}  {_text(self.rest)}")
        lines += [edge.told(name) for name, edge in self.edges.items()]
        return "\n".join(map(plain, lines))


def importance(space: Space, trials: Sequence[Trial], mode: str, metric: str) -> Importance:
    """Split the variance of what trials reached between their parameters.

    Trials that were given up early are compared with the others where all of them have a score: at the smallest number
    of epochs that any of them was trained for. Among the best tenth are those that the search ranks so. A trial that
    inherited another's weights is left out: its config alone did not make its score.

    Args:
      trials: of a search over `space`, at least 16 that were trained from a fresh start.
      mode, metric: of the task.

    Raises:
      Error: there are too few trials, or all have the same score.
    """
    finished = [trial for trial in trials if trial.status is not Status.RUNNING and trial.parent is None]
    seen = [finished[row] for row in order(Trials.of(finished), mode)]
    if len(seen) < _LEAST:
        alone = "" if all(trial.parent is None for trial in trials) else " that inherited no weights"
        raise Error(f"importance: expected at least {_LEAST} finished trials{alone}, got {len(seen)}")
    healthy = np.isfinite([trial.score for trial in seen])
    epochs = min((trial.epochs for trial, well in zip(seen, healthy, strict=True) if well), default=0)
    score = np.asarray([_after(trial, epochs, f"valid_{metric}") for trial in seen])
    if not healthy.any() or np.ptp(score[healthy]) == 0:
        raise Error("importance: expected trials with different scores, got only equal or diverged ones")
    score[~healthy] = score[healthy].min() if mode == "max" else score[healthy].max()
    top = np.arange(len(seen)) < round(0.1 * len(seen))

    unit = np.stack([space.unit(trial.config) for trial in seen]).astype(np.float64)
    in_score, in_top = _Fit(space.parameters, unit, score), _Fit(space.parameters, unit, top)
    shares, alone = in_score.shares(), in_top.variances()[:, : space.dim]
    alone = alone / np.maximum(alone.sum(1, keepdims=True), 1e-12)
    edges = {
        name: edge
        for column, (name, parameter) in enumerate(space.parameters.items())
        if parameter.scale != "category" and (edge := _edge(unit[:, column], ~healthy, parameter)) is not None
    }
    found = dict(zip([*in_score.terms, ()], map(_share, shares.T), strict=True))
    return Importance(
        top=dict(zip(space.names, map(_share, alone.T), strict=True)),
        score={name: found[name,] for name in space.names},
        pairs={(a, b): found[a, b] for a, b in itertools.combinations(space.names, 2)},
        rest=found[()],
        edges=edges,
        trials=len(seen),
        epochs=epochs,
        _fit=in_score,
    )


def _after(trial: Trial, epochs: int, name: str) -> float:
    """Return the score of a trial after so many epochs."""
    return float(trial.curve[name][epochs - 1]) if trial.epochs > epochs and name in trial.curve else trial.score


class _Fit:
    """A regression of an outcome f64[N] on points f64[N, D] of the unit cube, and again on bootstrap samples of them.

    The degree of the polynomials is the one with the smallest leave-one-out error. The terms are all single parameters,
    then all pairs.
    """

    def __init__(self, parameters: Mapping[str, Parameter], unit: np.ndarray, outcome: np.ndarray):
        self.parameters = parameters
        self.terms = [(name,) for name in parameters] + list(itertools.combinations(parameters, 2))
        self.center, self.scale = outcome.mean(), outcome.std()
        y = (outcome - self.center) / self.scale
        fits = []
        for self.degrees in _DEGREES:
            design, owner = self._design(unit)
            if design.shape[1] <= len(unit) / 2 or self.degrees == _DEGREES[0]:
                fits.append((_leave_one_out(design, y), self.degrees, design, owner))
        _, self.degrees, design, self.owner = min(fits, key=lambda fit: fit[0])
        rng, equal = np.random.default_rng(0), np.ones(len(unit))
        weights = [equal, *(rng.multinomial(len(unit), equal / len(unit)).astype(float) for _ in range(_DRAWS))]
        fitted = [_regress(design, y, weight) for weight in weights]
        self.coefficients, self.errors, self.residual = (np.stack(part) for part in zip(*fitted, strict=True))

    def variances(self) -> np.ndarray:
        """Return f64[1 + draws, terms], what each term contributes to the variance of the outcome, noise removed."""
        squares = (self.coefficients**2 - self.errors)[:, 1:]
        by_term = np.stack([np.bincount(self.owner, row, minlength=len(self.terms)) for row in squares])
        return np.maximum(by_term, 0.0)

    def shares(self) -> np.ndarray:
        """Return f64[1 + draws, terms + 1], shares of the variance; the last is that of the residual."""
        parts = np.concatenate([self.variances(), self.residual[:, None]], 1)
        return parts / np.maximum(parts.sum(1, keepdims=True), 1e-12)

    def marginal(self, names: tuple[str, ...]) -> Marginal:
        parameters = [self.parameters[name] for name in names]
        middles = [parameter.cells(_POINTS) for parameter in parameters]
        axes = [np.linspace(0, 1, _POINTS) if axis is None else axis for axis in middles]
        unit = np.full((math.prod(len(axis) for axis in axes), len(self.parameters)), 0.5)
        order = [list(self.parameters).index(name) for name in names]
        unit[:, order] = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(len(unit), -1)
        design, _ = self._design(unit)
        inside = [0] + [1 + i for i, term in enumerate(self.owner) if set(self.terms[term]) <= set(names)]
        curves = design[:, inside] @ self.coefficients[:, inside].T * self.scale + self.center
        mean, stderr = curves[:, 0], curves[:, 1:].std(1)
        shape = [len(axis) for axis in axes]
        values = tuple([p.value(float(u)) for u in axis] for p, axis in zip(parameters, axes, strict=True))
        return Marginal(values, mean.reshape(shape), stderr.reshape(shape))

    def _design(self, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return f64[N, 1 + K], a constant and K basis functions; and i64[K], the term that each belongs to."""
        degree, pair_degree = self.degrees
        bases = {n: _basis(p, unit[:, i], degree) for i, (n, p) in enumerate(self.parameters.items())}
        sides = {
            name: bases[name] if p.scale == "category" else bases[name][:, :pair_degree]
            for name, p in self.parameters.items()
        }
        blocks = [bases[name] for name in self.parameters]
        for a, b in itertools.combinations(self.parameters, 2):
            left, right = (sides[a], sides[b]) if pair_degree else (sides[a][:, :0], sides[b][:, :0])
            blocks.append((left[:, :, None] * right[:, None, :]).reshape(len(unit), -1))
        owner = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])
        return np.concatenate([np.ones((len(unit), 1)), *blocks], 1), owner


def _basis(parameter: Parameter, u: np.ndarray, degree: int) -> np.ndarray:
    """Return f64[N, K], functions of u with mean 0 and variance 1, uncorrelated, for u uniform on [0, 1]."""
    middles = parameter.cells(_POINTS)
    if middles is None:
        values = np.polynomial.legendre.legvander(2 * u - 1, degree)[:, 1:]
        return values * np.sqrt(2 * np.arange(1, degree + 1) + 1)
    edges = np.zeros(len(middles) + 1)
    for cell, middle in enumerate(middles):
        edges[cell + 1] = 2 * middle - edges[cell]
    most = len(middles) - 1
    weight = np.sqrt(np.diff(edges))[:, None]
    powers = np.polynomial.legendre.legvander(
        2 * middles - 1, most if parameter.scale == "category" else min(degree, most)
    )
    table = np.linalg.qr(weight * powers)[0][:, 1:] / weight
    return table[np.clip(np.searchsorted(edges, u) - 1, 0, most)]


def _leave_one_out(design: np.ndarray, outcome: np.ndarray) -> float:
    """Return the mean squared error of predicting each outcome from the others."""
    half = np.linalg.solve(design.T @ design + np.eye(design.shape[1]), design.T)
    leverage = np.minimum((design * half.T).sum(1), 0.999)
    return float(np.mean(((outcome - design @ (half @ outcome)) / (1 - leverage)) ** 2))


def _regress(design: np.ndarray, outcome: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return coefficients f64[K] of a regression with a little ridge, their variances, and that of the residual."""
    weighted = design * weights[:, None]
    inverse = np.linalg.inv(design.T @ weighted + np.eye(design.shape[1]))
    coefficients = inverse @ (weighted.T @ outcome)
    residual = outcome - design @ coefficients
    noise = float((weights * residual**2).sum() / max(weights.sum() - design.shape[1], 1.0))
    return coefficients, noise * (inverse @ (weighted.T @ weighted) * inverse).sum(1), noise


def _edge(u: np.ndarray, diverged: np.ndarray, parameter: Parameter) -> Edge | None:
    """Find the threshold that best tells diverged trials (above) from others.

    None where it errs in more than half as many trials as there are diverged ones, or these are fewer than three.
    """
    if diverged.sum() < 3 or diverged.all():
        return None

    def threshold(u: np.ndarray, diverged: np.ndarray) -> tuple[float, int]:
        order = np.argsort(u, kind="stable")
        points = np.concatenate([[u[order[0]]], (u[order[1:]] + u[order[:-1]]) / 2, [u[order[-1]]]])
        below = np.concatenate([[0], np.cumsum(diverged[order])])  # diverged ones below each point
        above = np.concatenate([np.cumsum(~diverged[order][::-1])[::-1], [0]])  # healthy ones above it
        wrong = below + above
        return float(points[np.argmin(wrong)]), int(wrong.min())

    at, wrong = threshold(u, diverged)
    if wrong > 0.5 * diverged.sum():
        return None
    rows = np.random.default_rng(0).integers(0, len(u), (200, len(u)))
    low, high = np.quantile([threshold(u[r], diverged[r])[0] for r in rows], [0.025, 0.975])
    return Edge(*(float(parameter.value(float(point))) for point in (at, low, high)))  # type: ignore[arg-type]


def _share(draws: np.ndarray) -> Share:
    """Make a share of f64[1 + draws], of which the first is on the trials as they are."""
    return Share(float(draws[0]), float(draws[1:].std()))


def _text(share: Share) -> str:
    return f"{share.share:8.3f} ±{share.stderr:.3f}"
