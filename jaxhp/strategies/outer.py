"""Outer moves: what to ask for where the points told are not the points asked for.

In a finite pool the config nearest to a point is evaluated. A model's careful choice is then displaced about as far as
configs lie apart, and only its rough direction is left. Bold moves that are clipped at the cube's bounds lose nothing
by that: the config nearest to a face or a corner is an outer one, which a point inside never reaches, and the optimum
of a pool is often there. Where points are evaluated as they are, such moves are wasted; so three of four rows are
theirs if the first round was displaced (`history.displaced`), and none otherwise.

The moves are those of an evolution strategy with log-rank weights (https://arxiv.org/abs/1604.00772) and uniform
crossover (Syswerda 1989), with no model and no step size to adapt.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float32, Int, Key, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import History, stream

TURN = 4  # rows, of which a model has the first and outer moves have the others
PARENTS = 5
MOVED = 0.3  # the share of the coordinates that a move changes
STEP = 1.0  # the standard deviation of a change, in units of the cube
_MOVES = 0x0C7E5  # the stream of the moves, so that they are no other draw's


def turns(history: History, unit: Float32[Array, "P D"]) -> Float32[Array, "P D"]:
    """Give three of four rows to outer moves if the told points are displaced.

    Args:
      history: what was told, and whether it is displaced.
      unit: f32[P, D], the points of a model.

    Returns:
      f32[P, D]: these points; or if the told are displaced, the first quarter of them in turn with outer moves.
    """
    known = not isinstance(history.displaced, Tracer)
    if history.told == 0 or (known and not history.displaced):
        return unit  # as `_turns` would, which takes a second or two to compile
    return _turns(history.key, history.round, history.displaced, history.unit, history.score, unit)


@jit
def _turns(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    displaced: Bool[Array, ""],
    told: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    unit: Float32[Array, "P D"],
) -> Float32[Array, "P D"]:
    """Compute `turns` by the told points and scores."""
    rows = jnp.arange(unit.shape[0])
    on = displaced & ~jnp.all(jnp.isnan(score))
    outer = moves(jax.random.fold_in(stream(seed, _MOVES), round), told, score, unit.shape[0])
    return jnp.where((on & (rows % TURN > 0))[:, None], outer, unit[jnp.where(on, rows // TURN, rows)])


def moves(
    key: Key[Array, ""], unit: Float32[Array, "C D"], score: Float32[Array, "C"], count: int
) -> Float32[Array, "{count} D"]:
    """Cross the best points and move what comes of it.

    Each takes half of its coordinates from one parent and half from another, moves at least one and is clipped.

    Args:
      key: of all that is drawn.
      unit: f32[C, D], points in the unit cube.
      score: f32[C], higher is better; some are not NaN.
      count: how many.
    """
    dim, parents = unit.shape[1], min(PARENTS, score.shape[0])
    keys = jax.random.split(key, 5)
    best = unit[jnp.argsort(jnp.where(jnp.isnan(score), jnp.inf, -score), stable=True)[:parents]]
    place = jnp.arange(1, parents + 1)
    weight = jnp.log(PARENTS + 0.5) - jnp.log(place.astype(jnp.float32))
    weight = jnp.where(place <= jnp.sum(~jnp.isnan(score)), weight, 0.0)
    one, other = jax.random.categorical(keys[0], jnp.log(weight)[None, None], shape=(2, count))
    crossed = jnp.where(jax.random.bernoulli(keys[1], 0.5, (count, dim)), best[one], best[other])
    moved = jax.random.bernoulli(keys[2], MOVED, (count, dim))
    axis = jax.random.randint(keys[3], (count, 1), 0, dim) == jnp.arange(dim)[None]
    moved = moved | (axis & ~jnp.any(moved, axis=1, keepdims=True))
    return jnp.clip(crossed + jnp.where(moved, STEP * jax.random.normal(keys[4], (count, dim)), 0.0), 0.0, 1.0)
