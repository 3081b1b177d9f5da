"""Weighted sums in float32 that stay right for many examples, and a metric made of a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxhp.tasks.whole_set import Columns, Metric
from jaxhp.values import Error

_BLOCK = 16


def total(values: jax.Array) -> jax.Array:
    """Sums [n, ...] over examples in blocks of blocks, so that rounding grows with the logarithm of n."""
    while len(values) > _BLOCK:
        padding = [(0, -len(values) % _BLOCK)] + [(0, 0)] * (values.ndim - 1)
        blocks = jnp.pad(values, padding).reshape(-1, _BLOCK, *values.shape[1:])
        values = jax.lax.optimization_barrier(blocks.sum(1))  # or XLA makes one long sum of both
    return values.sum(0)


def ratio(over: jax.Array, under: jax.Array, otherwise: float) -> jax.Array:
    """Divides; where the divisor is 0 it gives `otherwise`, with a derivative of 0."""
    some = under != 0
    return jnp.where(some, over / jnp.where(some, under, 1.0), otherwise)


def root(square: jax.Array) -> jax.Array:
    """Takes the square root, with a derivative of 0 at 0."""
    some = square > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), jnp.where(square == 0, 0.0, jnp.nan))


def mean(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Averages f32[n]; NaN where all weights are 0."""
    return ratio(total(weight * values), total(weight), jnp.nan)


def of(compute: Callable[..., jax.Array], *columns: tuple[str, tuple[int, ...]], **options: Any) -> Metric:
    """Makes a metric, equal to another of the same function, columns and options.

    Args:
      compute: takes the columns one after another, the weights f32[n] and the options; rows of weight 0 are 0.
      columns: name, and how many axes there may be, the first of which is the examples.

    Raises:
      Error: a name is none.
    """
    for name, _ in columns:
        if not isinstance(name, str):
            raise Error(f"metric column: expected the name of a column of evaluate, got {name!r}")
    return Metric(_Of(compute, columns, tuple(sorted(options.items()))))


@dataclass(frozen=True)
class _Of:
    compute: Callable[..., jax.Array]
    columns: tuple[tuple[str, tuple[int, ...]], ...]
    options: tuple[tuple[str, Any], ...]

    def __call__(self, columns: Columns, weight: jax.Array) -> jax.Array:
        arrays = [_there(name, jnp.asarray(columns[name]), axes, weight) for name, axes in self.columns]
        return self.compute(*arrays, weight, **dict(self.options))


def _there(name: str, column: jax.Array, axes: tuple[int, ...], weight: jax.Array) -> jax.Array:
    if column.ndim not in axes:
        shapes = " or ".join("[n]" if count == 1 else "[n, C]" for count in axes)
        raise Error(f"column {name!r}: expected {shapes}, got {column.dtype}{list(column.shape)}")
    some = (weight != 0).reshape(-1, *[1] * (column.ndim - 1))
    column = jnp.where(some, column, jnp.zeros((), column.dtype))
    return column.astype(jnp.float32) if jnp.issubdtype(column.dtype, jnp.floating) else column
