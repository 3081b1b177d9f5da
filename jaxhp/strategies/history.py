"""What a strategy has seen: every told point, padded so that compiled code keeps one shape from round to round."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Float32, Int, Int32, Key, PRNGKeyArray, UInt32

from jaxhp.compiling import jit
from jaxhp.values import Error, is_int

GRID = 2.0**24  # points are multiples of 1 / GRID


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class History:
    """The told points in the order of telling, and how far the asking has come.

    The capacity C comes from the schedule and doubles when more is told: nothing is dropped or overwritten.
    """

    key: UInt32[Array | np.ndarray, "2"]
    unit: Float32[Array | np.ndarray, "C D"]
    score: Float32[Array | np.ndarray, "C"]  # higher is better; NaN is diverged, and also fills the rows from `told` on
    told: int = field(default=0, metadata={"static": True})
    asked: int = field(default=0, metadata={"static": True})
    round: int = field(default=0, metadata={"static": True})
    epochs: int = field(default=1, metadata={"static": True})

    @property
    def dim(self) -> int:
        """Give D, the number of the unit cube's axes."""
        return self.unit.shape[1]


def empty(key: PRNGKeyArray, dim: int, epochs: int, capacity: int) -> History:
    """Make a history of nothing.

    Args:
      key: of any kind; the history keeps 64 bits drawn from it.
      dim: D, the axes of the unit cube.
      epochs: the full budget of a trial.
      capacity: C, how many points it has room for at first.

    Raises:
      Error: `dim` or `epochs` is no integer of at least 1.
    """
    for name, value in (("dim", dim), ("epochs", epochs)):
        if not is_int(value, 1):
            raise Error(f"{name}: expected an integer of at least 1, got {value!r}")
    # bits of any kind of key, so that the state holds plain numbers and the points do not depend on the kind
    seed = _bits(key)
    unit, score = np.full((capacity, dim), 0.5, np.float32), np.full(capacity, np.nan, np.float32)
    return History(seed, jnp.asarray(unit), jnp.asarray(score), epochs=int(epochs))


@jit
def _bits(key: PRNGKeyArray) -> UInt32[Array, "2"]:
    """Draw 64 bits, in one program."""
    return jax.random.bits(key, (2,), jnp.uint32)


def stream(seed: UInt32[Array | np.ndarray, "2"], number: Int[Array, ""] | int) -> Key[Array, ""]:
    """Derive the random key number `number` of a u32[2] seed."""
    return jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(seed), impl="threefry2x32"), number)


@jit
def snap(unit: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Round points to the nearest multiples of 2**-24 in [0, 1], as f32."""
    return jnp.clip(jnp.round(unit.astype(jnp.float32) * GRID) / GRID, 0.0, 1.0)


def check(unit: Float[Array | np.ndarray, "..."], scores: Float[Array | np.ndarray, "..."], dim: int) -> None:
    """Check that these are points of the unit cube, and a score for each.

    Values are looked at where they are known, which is outside jit.

    Args:
      unit: to be f32[P, dim], in [0, 1].
      scores: to be f32[P].
      dim: D, the axes of the unit cube.

    Raises:
      Error: a shape or a value is another.
    """
    if np.ndim(unit) != 2 or np.shape(unit)[1] != dim:
        raise Error(f"unit: expected points of shape (P, {dim}), got {np.shape(unit)}")
    if np.shape(scores) != np.shape(unit)[:1]:
        raise Error(f"scores: expected shape {np.shape(unit)[:1]}, one score a point, got {np.shape(scores)}")
    if not isinstance(unit, Tracer):
        values = np.asarray(unit)
        if not np.all((values >= 0) & (values <= 1)):
            raise Error(f"unit: expected values in [0, 1], got {values.min()} to {values.max()}")


def append(
    history: History, unit: Float[Array | np.ndarray, "..."], scores: Float[Array | np.ndarray, "..."]
) -> History:
    """Add told points to a history.

    Args:
      history: the points so far.
      unit: f32[P, D], the new points.
      scores: f32[P], higher is better; one that is not finite becomes NaN.

    Raises:
      Error: see `check`.
    """
    check(unit, scores, history.dim)
    total = history.told + np.shape(scores)[0]
    capacity = max(history.score.shape[0], 1)
    while capacity < total:
        capacity *= 2
    points, score = _put(history.unit, history.score, unit, scores, history.told, capacity)
    return replace(history, unit=points, score=score, told=total)


@partial(jit, static_argnames=("capacity",))
def _put(
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    new_unit: Float[Array, "P D"],
    new_score: Float[Array, "P"],
    told: Int[Array, ""],
    capacity: int,
) -> tuple[Float32[Array, "{capacity} D"], Float32[Array, "{capacity}"]]:
    """Write the new rows from row `told` on, after padding to `capacity` rows."""
    rows = ((0, capacity - score.shape[0]),)
    unit = jnp.pad(unit, (*rows, (0, 0)), constant_values=0.5)
    score = jnp.pad(score, rows, constant_values=jnp.nan)
    return (
        jax.lax.dynamic_update_slice(unit, snap(new_unit), (told, 0)),
        jax.lax.dynamic_update_slice(score, finite(new_score), (told,)),
    )


def finite(scores: Float[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Turn scores that are not finite into NaN, which is diverged."""
    score = scores.astype(jnp.float32)
    return jnp.where(jnp.isfinite(score), score, jnp.nan)


def ranks(score: Float32[Array, "C"]) -> Int32[Array, "C"]:
    """Rank scores: 1 + the number that is strictly better; NaN after all others. Ties share the better rank."""
    cost = jnp.where(jnp.isnan(score), jnp.inf, -score)
    return 1 + jnp.searchsorted(jnp.sort(cost), cost, side="left").astype(jnp.int32)
