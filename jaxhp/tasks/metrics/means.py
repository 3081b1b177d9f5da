"""Means over what examples have several of, such as tokens: examples count by how many they have."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxhp.tasks.metrics.weighted import of, ratio, total
from jaxhp.tasks.whole_set import Metric
from jaxhp.values import Error


def weighted_mean(value: str = "value", count: str = "count") -> Metric:
    """Make the mean of a column, each value of which counts so often: sum(count * value) / sum(count).

    Both columns are [n], of examples, or [n, L], of their tokens, with a count of 0 for padding, whose values do not
    matter. It is NaN where nothing counts.
    """
    return of(_weighted_mean, (value, (1, 2)), (count, (1, 2)), names=(value, count))


def token_accuracy(correct: str = "correct", count: str = "count") -> Metric:
    """Make the share of tokens that are predicted, 0 to 1: `weighted_mean` of `correct`.

    With columns [n], `correct` is an example's share and `count` its number of tokens; with [n, L], booleans of tokens.
    """
    return weighted_mean(correct, count)


def perplexity(nll: str = "nll", count: str = "count") -> Metric:
    """Make exp(mean negative log-likelihood of a token), from 1; NaN where there is none.

    With columns [n], `nll` is an example's mean, in nats, and `count` its number of tokens; with [n, L], those of
    tokens.
    """
    return of(_perplexity, (nll, (1, 2)), (count, (1, 2)), names=(nll, count))


def _weighted_mean(value: jax.Array, count: jax.Array, weight: jax.Array, names: tuple[str, str]) -> jax.Array:
    if value.shape != count.shape:
        raise Error(
            f"column {names[1]!r}: expected the shape of {names[0]!r}, {list(value.shape)}, got {list(count.shape)}"
        )
    counts = count.astype(jnp.float32).reshape(len(weight), -1)
    values = jnp.where(counts != 0, value.astype(jnp.float32).reshape(counts.shape), 0.0)
    return ratio(total(weight * (counts * values).sum(1)), total(weight * counts.sum(1)), jnp.nan)


def _perplexity(nll: jax.Array, count: jax.Array, weight: jax.Array, names: tuple[str, str]) -> jax.Array:
    return jnp.exp(_weighted_mean(nll, count, weight, names))
