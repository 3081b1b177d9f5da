"""Metrics of numbers predicted: errors, the coefficient of determination, Pearson's correlation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhp.tasks.metrics.weighted import mean, of, ratio, root, total
from jaxhp.tasks.whole_set import Metric

_TINY = 2.220446049250313e-16  # scikit-learn's least target of a relative error


def mse(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make the mean squared error, from 0: `sklearn.metrics.mean_squared_error`."""
    return of(_mse, (prediction, (1,)), (target, (1,)))


def rmse(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make the root of the mean squared error, from 0: `sklearn.metrics.root_mean_squared_error`.

    Where it is 0 it has no derivative, and examples no influence.
    """
    return of(_rmse, (prediction, (1,)), (target, (1,)))


def mae(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make the mean absolute error, from 0: `sklearn.metrics.mean_absolute_error`."""
    return of(_mae, (prediction, (1,)), (target, (1,)))


def mape(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make the mean absolute error relative to the target, from 0 (no per cents).

    It is `sklearn.metrics.mean_absolute_percentage_error`; a target of 0 counts as 2.2e-16, which makes it huge.
    """
    return of(_mape, (prediction, (1,)), (target, (1,)))


def r2(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make the coefficient of determination, up to 1: `sklearn.metrics.r2_score`.

    It is 1 - mean squared error / variance of the targets. Where all targets are equal it is 1 if they are predicted
    exactly, else 0; with fewer than two examples it is NaN.
    """
    return of(_r2, (prediction, (1,)), (target, (1,)))


def pearson(prediction: str = "prediction", target: str = "target") -> Metric:
    """Make Pearson's correlation of prediction and target, -1 to 1: `scipy.stats.pearsonr`.

    It is NaN where all predictions or all targets are equal.
    """
    return of(_pearson, (prediction, (1,)), (target, (1,)))


def correlation(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
    """Correlates f32[n] and f32[n]; NaN where all of one are equal."""
    a, b = (_centred(values, weight) for values in (a, b))
    spread = root(total(weight * a * a)) * root(total(weight * b * b))
    return ratio(total(weight * a * b), spread, jnp.nan)


def _mse(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    return mean(_error(prediction, target) ** 2, weight)


def _rmse(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    return root(_mse(prediction, target, weight))


def _mae(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    return mean(jnp.abs(_error(prediction, target)), weight)


def _mape(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    size = jnp.maximum(jnp.abs(target.astype(jnp.float32)), _TINY)
    return mean(jnp.abs(_error(prediction, target)) / size, weight)


def _r2(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    left = total(weight * _error(prediction, target) ** 2)
    spread = total(weight * _centred(target, weight) ** 2)
    found = jnp.where((spread == 0) & (left > 0), 0.0, 1 - ratio(left, spread, 0.0))
    return jnp.where(jnp.sum(weight != 0) < 2, jnp.nan, found)


def _pearson(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    return correlation(prediction, target, weight)


def _error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    return prediction.astype(jnp.float32) - target.astype(jnp.float32)


def _centred(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Takes off the mean, of values counted from the first that counts: equal ones give 0 in every bit."""
    values = values.astype(jnp.float32)
    values = values - values[jnp.argmax(weight != 0)]
    return values - mean(values, weight)
