"""What is measured of a tile: every metric's mean over examples and its variance, part by part of the examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from jaxhp.engine.scores import quotient

Evaluate = Callable[[PyTree[Array]], Mapping[str, jax.Array]]
"""Takes a minibatch, leaves [B, ...], to the columns of a tile, name to [T, B, ...]."""


class Whole(NamedTuple):
    """The metrics of the whole set, of a tile.

    Attributes:
      names: of the metrics.
      columns: those that they read.
      found: takes these columns, name to [T, n, ...], and weights f32[n] to each metric's value f32[T] and influences
        f32[T, n], by name.
      bias: takes a metric's name, and the same, to f32[T], how much too high it is on average.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    found: Callable[[Mapping[str, jax.Array], jax.Array], Mapping[str, tuple[jax.Array, jax.Array]]]
    bias: Callable[[str, Mapping[str, jax.Array], jax.Array], jax.Array]


def measure(
    evaluate: Evaluate,
    means: tuple[str, ...],
    whole: Whole | None,
    data: PyTree[Array],
    rows: jax.Array,
    count: jax.Array,
    at_once: int,
) -> tuple[jax.Array, jax.Array]:
    """Computes every metric, and its variance over examples: of a metric of the whole set, that of its influences.

    Args:
      evaluate: see `Evaluate`.
      means: the columns whose means are metrics.
      whole: the other metrics; None: there are none.
      data: examples, leaves [n, ...].
      rows: i32[r], those to measure on, padded.
      count: i32[], how many of these are no padding.
      at_once: examples of a minibatch at most.

    Returns:
      f32[T, M] and f32[T, M], metrics in the order of their names.
    """
    sums, kept, there = _passed(evaluate, means, whole, data, rows, count, at_once)
    n = count.astype(jnp.float32)
    value, variance = quotient(sums.total, n), quotient(sums.squares, n)
    if whole is None:
        return value, variance
    of = {name: (value[:, i], variance[:, i]) for i, name in enumerate(means)}
    for name, (found, influence) in whole.found(kept, there.astype(jnp.float32)).items():
        of[name] = found, quotient((influence * influence).sum(1), n)
    ordered = [of[name] for name in sorted(of)]
    return jnp.stack([found for found, _ in ordered], 1), jnp.stack([spread for _, spread in ordered], 1)


def of_samples(columns: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Computes every metric of a loop, and the variance of it that its samples tell of.

    Args:
      columns: name to values [T], or samples [T, B].

    Returns:
      f32[T, M], means over samples in the order of their names, and f32[T, M], the variances of these means; NaN where
      there are no two samples.
    """

    def one(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = values.astype(jnp.float32).reshape(len(values), -1)
        n = jnp.float32(values.shape[1])
        mean = quotient(values.sum(1), n)
        squares = ((values - mean[:, None]) ** 2).sum(1)
        return mean, squares / (n * (n - 1))

    found = [one(columns[name]) for name in sorted(columns)]
    return jnp.stack([mean for mean, _ in found], 1), jnp.stack([spread for _, spread in found], 1)


def influences(
    evaluate: Evaluate,
    name: str,
    whole: Whole,
    data: PyTree[Array],
    rows: jax.Array,
    count: jax.Array,
    at_once: int,
) -> tuple[jax.Array, jax.Array]:
    """Computes f32[T, r], whose mean is a metric of the whole set and whose spread is that of examples; and its bias.

    Args:
      name: of the metric; the others are as in `measure`.

    Returns:
      The metric plus the influence of each of the rows, undefined for padding; and how much too high the metric is on
      average, f32[T].
    """
    _, kept, there = _passed(evaluate, (), whole, data, rows, count, at_once)
    weight = there.astype(jnp.float32)
    value, influence = whole.found(kept, weight)[name]
    return value[:, None] + influence[:, : len(rows)], whole.bias(name, kept, weight)


def _passed(
    evaluate: Evaluate,
    means: tuple[str, ...],
    whole: Whole | None,
    data: PyTree[Array],
    rows: jax.Array,
    count: jax.Array,
    at_once: int,
) -> tuple[_Sums, dict[str, jax.Array], jax.Array]:
    """Evaluates the examples part by part.

    Returns:
      what is known of the means, the columns [T, R, ...] that metrics of the whole set read, with R >= r for padding,
      and bool[R], which of these rows count.
    """
    chunks = -(-len(rows) // at_once)
    size = -(-len(rows) // chunks)
    rows = jnp.pad(rows, (0, chunks * size - len(rows)))

    def chunk(c: jax.Array, passed: tuple[_Sums, dict[str, jax.Array]]) -> tuple[_Sums, dict[str, jax.Array]]:
        sums, kept = passed
        at = c * size + jnp.arange(size)
        columns = evaluate(jax.tree.map(lambda a: a.at[rows[at]].get(mode="promise_in_bounds"), data))
        if means:
            values = jnp.stack([columns[name].astype(jnp.float32) for name in means], -1)  # [T, B, M]
            sums = _added(sums, values, (at < count)[:, None], c == 0)
        put = lax.dynamic_update_slice_in_dim
        return sums, {name: put(whole, columns[name], c * size, 1) for name, whole in kept.items()}

    columns = jax.eval_shape(lambda: evaluate(jax.tree.map(lambda a: a[rows[:size]], data)))
    none = jnp.zeros((next(iter(columns.values())).shape[0], len(means)), jnp.float32)
    wanted = {name: columns[name] for name in whole.columns} if whole is not None else {}
    kept = {n: jnp.zeros((s.shape[0], chunks * size, *s.shape[2:]), s.dtype) for n, s in wanted.items()}
    nothing = _Sums(none, none, jnp.float32(0.0), none, none)
    sums, kept = lax.fori_loop(0, chunks, chunk, (nothing, kept))
    return sums, kept, jnp.arange(chunks * size) < count


class _Sums(NamedTuple):
    """What is known of the values of so many examples, metrics f32[T, M].

    Values are counted from the first one and squares from their mean: a variance is right however far from zero a
    metric lies, and the mean is that of the plain total, which equal sets of hits have in common.
    """

    total: jax.Array
    first: jax.Array  # the value of the first example
    n: jax.Array  # f32[]
    mean: jax.Array  # of value - first
    squares: jax.Array  # sum of squared distances from the mean


def _added(sums: _Sums, values: jax.Array, there: jax.Array, begun: jax.Array) -> _Sums:
    """Adds a chunk of examples.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).

    Args:
      values: f32[T, B, M].
      there: bool[B, 1], which of the examples count.
      begun: bool[], whether the first of them is the first of all.
    """
    first = jnp.where(begun, values[:, 0], sums.first)
    n = there.sum().astype(jnp.float32)
    share = 1 / jnp.maximum(n, 1.0)
    off = jnp.where(there, values - first[:, None], 0.0)
    mean = off.sum(1) * share
    apart = jnp.where(there, off - mean[:, None], 0.0)
    step = mean - sums.mean
    part = n / (sums.n + n)
    return _Sums(
        sums.total + jnp.where(there, values, 0.0).sum(1),
        first,
        sums.n + n,
        sums.mean + step * part,
        sums.squares + (apart * apart).sum(1) + step * step * (sums.n * part),
    )
