"""Metrics of a whole set of examples, such as F1 or AUC, which are no means, and the influence of each example.

The influence of an example on a metric is n times the derivative by its weight, where all weights are 1 (the
infinitesimal jackknife). A metric does not change when all weights are scaled, so influences add up to 0: the metric
plus the influences are n values whose mean is the metric and whose variance, over n, is the metric's variance. For a
statistic of ranks, such as AUC, that is the derivative with the order held fixed, which sorting by index gives.

A metric that is no mean is off on average where examples are few: R2 of 300 is too low by a tenth of its standard
error. That is half the sum of its second derivatives by the weights (`bias`). Scores and tests are the plain metric all
the same, which anybody else computes too; estimates have their bias taken off.

Source: Jaeckel, The infinitesimal jackknife (1972); Efron, Nonparametric estimates of standard error (1981); the sum of
second derivatives by random signs: Hutchinson, A stochastic estimator of the trace (1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.compiling import jit
from jaxhp.values import Error

Columns = Mapping[str, Any]
"""What `evaluate` returns, of all examples: name to [n, ...]."""

_MOVES, _MOVE = 16, 0.5  # other weights that are tried, and how far from 1 they lie
_STEPS = 8  # of the sum of derivatives on the way to them
_MISSED = 0.5  # of a change: what the derivatives may leave unexplained
_TINY = 1e-4  # of the metric: a change that rounding makes
_SIGNS, _STEP = 8, 0.5  # draws of random signs, and how far from 1 weights move for second derivatives


@dataclass(frozen=True)
class Metric:
    """A metric of the whole validation set.

    Attributes:
      fn: `(columns, weight) -> scalar`, of the columns that the task's `evaluate` returns, of all examples: name to
        [n, ...], and weights f32[n]. An example of weight 0 is as if it were not there (a padded row, another fold),
        one of weight 2 as if it were there twice; the metric does not change when all weights are scaled. It must have
        a derivative by the weights, see `jaxhp.metrics`.
    """

    fn: Callable[[Columns, jax.Array], jax.Array]

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise Error(f"Metric fn: expected a function of columns and weight, got {self.fn!r}")

    def __call__(self, columns: Columns, weight: jax.Array | np.ndarray | None = None) -> jax.Array:
        """Compute the metric, f32[], of columns [n, ...]; without weights all examples count alike."""
        columns = {name: jnp.asarray(column) for name, column in columns.items()}
        n = len(next(iter(columns.values())))
        return self.fn(columns, jnp.ones(n, jnp.float32) if weight is None else jnp.asarray(weight, jnp.float32))


@dataclass(frozen=True)
class Half(Metric):
    """A metric of the first, the third, the fifth, ... of the examples; `fn` is that of all."""

    def __post_init__(self) -> None:
        whole = self.fn

        def half(columns: Columns, weight: jax.Array) -> jax.Array:
            return whole(columns, weight * (jnp.arange(len(weight)) % 2 == 0))

        object.__setattr__(self, "fn", half)


def found(metrics: Mapping[str, Metric], columns: Columns, weight: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Compute metrics, f32[], and the influence of every example on each, f32[n], by name.

    Where a metric has no derivative, as the root of 0, it counts as 0.

    Args:
      weight: f32[n] of 0 and 1.
    """
    at = {name: _with_slope(metric, columns, weight) for name, metric in metrics.items()}
    return {name: (value, slope * weight * weight.sum()) for name, (value, slope) in at.items()}


def bias(metric: Metric, columns: Columns, weight: jax.Array) -> jax.Array:
    """Estimate how much too high a metric of so few examples is on average, f32[]; 0 where that cannot be known.

    Weights move up and down by random signs, and what the metric gains on average tells the sum of its second
    derivatives: up to a factor of about 1 +- 0.5, which is little of what examples leave uncertain.

    Args:
      weight: f32[n] of 0 and 1.
    """

    def gain(key: jax.Array) -> jax.Array:
        signs = jax.random.rademacher(key, weight.shape, jnp.float32)
        move = _STEP * (signs - jnp.sum(weight * signs) / jnp.sum(weight))  # in all weights stay, and so does a mean
        return 0.5 * (metric.fn(columns, weight * (1 + move)) + metric.fn(columns, weight * (1 - move)))

    gained = jax.lax.map(gain, jax.random.split(jax.random.key(0), _SIGNS)).mean() - metric.fn(columns, weight)
    return jnp.where(jnp.isfinite(gained), gained / _STEP**2, 0.0)


def check_weights(metrics: Mapping[str, Metric], *networks: Columns) -> None:
    """Refuse a metric that does not take weights for what they are, or has no derivative by them.

    Args:
      networks: of each, on the same examples: name to [n, ...].

    Raises:
      Error: an example of weight 0 still counts or one of weight 2 not twice, or other weights of the same ratio give
        another value, or the derivatives by weights do not add up to how the metric changes with them.
    """
    n = len(next(iter(networks[0].values())))
    times = (np.arange(n) + 2) % 3
    moves = np.random.default_rng(0).uniform(-_MOVE, _MOVE, (_MOVES, n))
    along = (np.arange(_STEPS) + 0.5) / _STEPS  # where slopes are taken, on the way from 1 to 1 + move
    steps = 1 + (along[:, None, None] * moves).reshape(-1, n)
    weights = np.concatenate([np.ones((1, n)), np.full((1, n), 0.5), times[None], 1 + moves, steps]).astype(np.float32)

    def tried(columns: Columns, repeated: Columns, weights: jax.Array) -> dict[str, tuple[jax.Array, ...]]:
        def at(weight: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
            return {name: _with_slope(metric, columns, weight) for name, metric in metrics.items()}

        alone = {name: metric(repeated) for name, metric in metrics.items()}
        return {name: (alone[name], *found) for name, found in jax.lax.map(at, weights).items()}

    compiled = jit(tried)
    for columns in networks:
        repeated = {name: np.repeat(column, times, axis=0) for name, column in columns.items()}
        for name, (alone, values, slopes) in jax.device_get(compiled(columns, repeated, weights)).items():
            _check_found(name, alone, values, slopes, moves)


def _check_found(name: str, alone: np.ndarray, values: np.ndarray, slopes: np.ndarray, moves: np.ndarray) -> None:
    """Refuse a metric by what `check_weights` has found of it.

    Args:
      alone: f32[], of examples left out, once and twice.
      values: f32[W], with the weights of `check_weights` one after another.
      slopes: f32[W, n], the derivatives there.
      moves: f64[moves, n], how far from 1 other weights lie.
    """
    n, (whole, scaled, counted) = moves.shape[1], values[:3]
    if _apart(counted, alone):
        raise Error(
            f"Task metrics {name!r}: expected one for which an example of weight 0 is as if it were not there, and "
            f"of weight 2 as if it were there twice, got {counted:.6g} with weights 2, 0, 1, 2, 0, 1... of {n} "
            f"examples, and {alone:.6g} of as many of each"
        )
    if _apart(scaled, whole):
        raise Error(
            f"Task metrics {name!r}: expected a metric that does not change when all weights are scaled, got "
            f"{whole:.6g} with weights of 1 and {scaled:.6g} with weights of 0.5"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # a metric of some random network may be infinite
        changes = values[3 : 3 + _MOVES].astype(np.float64) - whole
        told = np.einsum("smn,mn->m", slopes[3 + _MOVES :].reshape(_STEPS, _MOVES, n), moves) / _STEPS
        change, missed, by_slope = (float(np.sqrt(np.mean(d**2))) for d in (changes, changes - told, told))
    if np.isfinite(missed) and change > _TINY * abs(whole) + 1e-6 and missed > _MISSED * change:
        raise Error(
            f"Task metrics {name!r}: expected a metric with a derivative by the weights, which tells how much each "
            f"example matters, got a change of {change:.3g} with other weights where the derivative makes it "
            f"{by_slope:.3g}"
        )


def _with_slope(metric: Metric, columns: Columns, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes a metric, f32[], and its derivatives by the weights, f32[n]: 0 where there is none."""
    value, slope = jax.value_and_grad(lambda w: metric.fn(columns, w).astype(jnp.float32))(weight)
    return value, jnp.where(jnp.isfinite(slope), slope, 0.0)


def _apart(a: np.ndarray, b: np.ndarray) -> bool:
    return not np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
