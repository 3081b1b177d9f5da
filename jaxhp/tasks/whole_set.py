"""Metrics of a whole set of examples, such as F1 or AUC, which are no means, and the influence of each example.

The influence of an example on a metric is n times the derivative by its weight, where all weights are 1 (the
infinitesimal jackknife). A metric does not change when all weights are scaled, so influences add up to 0: the metric
plus the influences are n values whose mean is the metric and whose variance, over n, is the metric's variance. For a
statistic of ranks, such as AUC, that is the derivative with the order held fixed, which sorting by index gives.

Source: Jaeckel, The infinitesimal jackknife (1972); Efron, Nonparametric estimates of standard error (1981).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.compiling import jit
from jaxhp.values import Error

Columns = Mapping[str, Any]
"""What `evaluate` returns, of all examples: name to [n, ...]."""

_RATIO = 10.0  # the variance by leaving out one of few examples may be so many times that by influences
_TINY = 1e-9  # a variance that rounding makes


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
    n = weight.sum()

    def one(metric: Metric) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.value_and_grad(lambda w: metric.fn(columns, w).astype(jnp.float32))(weight)
        return value, jnp.where(jnp.isfinite(slope), slope, 0.0) * weight * n

    return {name: one(metric) for name, metric in metrics.items()}


def check_weights(metrics: Mapping[str, Metric], columns: Columns) -> None:
    """Refuse a metric that does not take weights for what they are, or has no derivative by them.

    Args:
      columns: name to [n, ...], of some examples and one network.

    Raises:
      Error: an example of weight 0 still counts, or other weights of the same ratio give another value, or the
        influences are not what leaving out one example after another shows.
    """
    n = len(next(iter(columns.values())))
    half = np.arange(n) % 2 == 0
    some = {name: column[half] for name, column in columns.items()}

    def values(metric: Metric) -> dict[str, jax.Array]:
        ones = jnp.ones(n, jnp.float32)
        return {
            "whole": metric(columns),
            "scaled": metric(columns, 0.5 * ones),
            "masked": metric(columns, half.astype(np.float32)),
            "alone": metric(some),
            "left out": jax.lax.map(lambda i: metric(columns, ones.at[i].set(0.0)), jnp.arange(n)),
            "influence": found({"": metric}, columns, ones)[""][1],
        }

    for name, metric in metrics.items():
        at = {key: np.asarray(value, float) for key, value in jax.device_get(jit(partial(values, metric))()).items()}
        if _apart(at["masked"], at["alone"]):
            raise Error(
                f"Task metrics {name!r}: expected one for which an example of weight 0 is as if it were not there, "
                f"got "
                f"{at['masked']:.6g} with weight 0 for every other of {n} examples, and {at['alone']:.6g} without"
            )
        if _apart(at["scaled"], at["whole"]):
            raise Error(
                f"Task metrics {name!r}: expected a metric that does not change when all weights are scaled, got "
                f"{at['whole']:.6g} with weights of 1 and {at['scaled']:.6g} with weights of 0.5"
            )
        jackknife, by_influence = (n - 1) * np.var(at["left out"]), np.var(at["influence"]) / n
        if np.isfinite(jackknife) and jackknife > _TINY and by_influence * _RATIO < jackknife:
            raise Error(
                f"Task metrics {name!r}: expected a metric with a derivative by the weights, which tells how much each "
                f"example matters, got a standard error of {by_influence**0.5:.3g} by it and {jackknife**0.5:.3g} by "
                "leaving out examples one by one"
            )


def _apart(a: np.ndarray, b: np.ndarray) -> bool:
    return not np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
