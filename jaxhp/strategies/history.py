"""What a strategy has seen: every told point, padded so that compiled code keeps one shape from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxhp.trials import Error

GRID = 2.0**24  # points are multiples of 1 / GRID
COMPARED, FEW = 128, 8  # slots of the first round that are compared with what was told of them: at most; too few


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class History:
    """The told points in the order of telling, and how far the asking has come.

    The capacity C comes from the schedule and doubles when more is told: nothing is dropped or overwritten.
    Of what was asked only the first round is kept, by `Auto`, which is enough to learn what becomes of points.
    """

    key: jax.Array  # u32[2]
    unit: jax.Array  # f32[C, D]
    score: jax.Array  # f32[C], higher is better; NaN is diverged, and also fills the rows from `told` on
    first: jax.Array  # f32[F, D], the first 128 points at most of the first round asked
    displaced: jax.Array  # bool, whether the points told for them were others: see `displaced`
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
            raise Error(f"{name}: expected an integer of at least 1, got {value!r}")
    # bits of any kind of key, so that the state holds plain numbers and the points do not depend on the kind
    seed = jax.random.bits(key, (2,), jnp.uint32)
    unit, score = np.full((capacity, dim), 0.5, np.float32), np.full(capacity, np.nan, np.float32)
    none = jnp.zeros((0, dim), jnp.float32)
    return History(seed, jnp.asarray(unit), jnp.asarray(score), none, jnp.asarray(False), epochs=int(epochs))


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
        raise Error(f"unit: expected points of shape (P, {dim}), got {np.shape(unit)}")
    if np.shape(scores) != np.shape(unit)[:1]:
        raise Error(f"scores: expected shape {np.shape(unit)[:1]}, one score a point, got {np.shape(scores)}")
    if not isinstance(unit, Tracer):
        values = np.asarray(unit)
        if not np.all((values >= 0) & (values <= 1)):
            raise Error(f"unit: expected values in [0, 1], got {values.min()} to {values.max()}")


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


def asked(history: History, unit: Any) -> History:
    """The history past an ask for f32[P, D] points, which remembers those of the first round."""
    return replace(history, first=jnp.asarray(unit)[:COMPARED]) if history.round == 1 else history


def answered(history: History, unit: Any) -> History:
    """The history past f32[P, D] points told in answer to the last ask; in the first round compared with it."""
    if history.round != 1:
        return history
    rows = min(history.first.shape[0], np.shape(unit)[0])
    told = displaced(history.first[:rows], jnp.asarray(unit, jnp.float32)[:rows])
    return replace(history, displaced=history.displaced | told)


@jax.jit
def displaced(wanted: jax.Array, told: jax.Array) -> jax.Array:
    """bool: whether most of f32[F, D] wanted points were told elsewhere, as in a pool whose nearest config is taken.

    Such a point is displaced in every coordinate, and farther than rounding would take it, which is to the nearest of
    the values that each coordinate has: so neither continuous parameters nor integers, choices and grids count. And it
    is not just any point, but of the told ones about the nearest to what was wanted: so points of one's own and answers
    to other asks do not count.
    """
    apart = jnp.abs(wanted[:, None] - told[None])  # [F, F, D]
    own = jnp.diagonal(apart, axis1=0, axis2=1).T  # [F, D]
    square, others = jnp.sum(own * own, axis=1), jnp.sum(apart * apart, axis=2)
    rounded = jnp.sum(jnp.square(jnp.min(apart, axis=1, initial=1.0)), axis=1)
    nearer = jnp.mean((others < square[:, None]).astype(jnp.float32), axis=1)
    rows = jnp.all(own > 1e-4, axis=1) & (square > 2 * rounded) & (nearer < 0.1)
    return 2 * jnp.sum(rows) > max(wanted.shape[0], FEW)


def finite(scores: jax.Array) -> jax.Array:
    """f32 scores in which whatever is not finite became NaN, which is diverged."""
    score = scores.astype(jnp.float32)
    return jnp.where(jnp.isfinite(score), score, jnp.nan)


def ranks(score: jax.Array) -> jax.Array:
    """i32[C]: 1 + the number of scores strictly better; NaN after all others. Ties share the better rank."""
    cost = jnp.where(jnp.isnan(score), jnp.inf, -score)
    return 1 + jnp.searchsorted(jnp.sort(cost), cost, side="left").astype(jnp.int32)
