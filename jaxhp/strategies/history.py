"""What a strategy has seen: every told point, padded so that compiled code keeps one shape from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

GRID = 2.0**24  # points are multiples of 1 / GRID


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class History:
    """The told points in the order of telling, and how far the asking has come.

    The capacity C comes from the schedule and doubles when more is told: nothing is dropped or overwritten.
    """

    key: jax.Array  # u32[2]
    unit: jax.Array  # f32[C, D]
    score: jax.Array  # f32[C], higher is better; NaN is diverged, and also fills the rows from `told` on
    told: int = field(default=0, metadata={"static": True})
    asked: int = field(default=0, metadata={"static": True})
    round: int = field(default=0, metadata={"static": True})
    epochs: int = field(default=1, metadata={"static": True})

    @property
    def dim(self) -> int:
        """D, the axes of the unit cube."""
        return self.unit.shape[1]


def empty(key: jax.Array, dim: int, epochs: int, capacity: int) -> History:
    """A history of nothing, for `dim` dimensions, with room for `capacity` points."""
    for name, value in (("dim", dim), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
    # bits of any kind of key, so that the state holds plain numbers and the points do not depend on the kind
    seed = jax.random.bits(key, (2,), jnp.uint32)
    unit, score = np.full((capacity, dim), 0.5, np.float32), np.full(capacity, np.nan, np.float32)
    return History(seed, jnp.asarray(unit), jnp.asarray(score), epochs=int(epochs))


def stream(seed: jax.Array, number: jax.Array | int) -> jax.Array:
    """The random key number `number` of a u32[2] seed."""
    return jax.random.fold_in(jax.random.wrap_key_data(seed, impl="threefry2x32"), number)


@jax.jit
def snap(unit: jax.Array) -> jax.Array:
    """f32 points taken to the nearest multiple of 2**-24 in [0, 1]."""
    return jnp.clip(jnp.round(unit.astype(jnp.float32) * GRID) / GRID, 0.0, 1.0)


def check(unit: Any, scores: Any, dim: int) -> None:
    """Raise a ValueError unless these are points f32[P, D] of the unit cube and their scores f32[P].

    Values are looked at where they are known, which is outside jit.
    """
    if np.ndim(unit) != 2 or np.shape(unit)[1] != dim:
        raise ValueError(f"unit: expected points of shape (P, {dim}), got {np.shape(unit)}")
    if np.shape(scores) != np.shape(unit)[:1]:
        raise ValueError(f"scores: expected shape {np.shape(unit)[:1]}, one score a point, got {np.shape(scores)}")
    if not isinstance(unit, Tracer):
        values = np.asarray(unit)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"unit: expected values in [0, 1], got {values.min()} to {values.max()}")


def append(history: History, unit: Any, scores: Any) -> History:
    """The history with f32[P, D] points and their f32[P] scores added; a score that is not finite becomes NaN."""
    check(unit, scores, history.dim)
    total = history.told + np.shape(scores)[0]
    capacity = max(history.score.shape[0], 1)
    while capacity < total:
        capacity *= 2
    points, score = _put(history.unit, history.score, unit, scores, history.told, capacity)
    return replace(history, unit=points, score=score, told=total)


@partial(jax.jit, static_argnames="capacity")
def _put(
    unit: jax.Array, score: jax.Array, new_unit: jax.Array, new_score: jax.Array, told: jax.Array, capacity: int
) -> tuple[jax.Array, jax.Array]:
    """The new rows written from row `told` on, after padding to `capacity` rows."""
    rows = ((0, capacity - score.shape[0]),)
    unit = jnp.pad(unit, (*rows, (0, 0)), constant_values=0.5)
    score = jnp.pad(score, rows, constant_values=jnp.nan)
    return (
        jax.lax.dynamic_update_slice(unit, snap(new_unit), (told, 0)),
        jax.lax.dynamic_update_slice(score, finite(new_score), (told,)),
    )


def finite(scores: jax.Array) -> jax.Array:
    """f32 scores in which whatever is not finite became NaN, which is diverged."""
    score = scores.astype(jnp.float32)
    return jnp.where(jnp.isfinite(score), score, jnp.nan)


def ranks(score: jax.Array) -> jax.Array:
    """i32[C]: 1 + the number of scores strictly better; NaN after all others. Ties share the better rank."""
    cost = jnp.where(jnp.isnan(score), jnp.inf, -score)
    return 1 + jnp.searchsorted(jnp.sort(cost), cost, side="left").astype(jnp.int32)
