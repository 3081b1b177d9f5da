"""A Gaussian process that learns from every rung: the budget is one more coordinate of what was told.

A score after few epochs says something of the score after all of them, the more the nearer the budgets are; how much is
learnt as the length scale of that coordinate (Swersky et al., https://arxiv.org/abs/1406.3896; Klein et al.,
https://arxiv.org/abs/1605.07079). Scores of all budgets are ranked together, and points are chosen by what the process
expects of them at the full budget.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.gaussian import kernel
from jaxhp.strategies.gp import CANDIDATES, Belief, chosen, descendants, learnt, spacing
from jaxhp.strategies.history import stream
from jaxhp.strategies.tpe import TPE, best_of_draws


@jit
def learn(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    unit: Float32[Array, "C budgets"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
) -> Belief:
    """Fit a process to scores after several budgets.

    Args:
      seed, round: of what is drawn, where more was told than the process can learn from.
      unit: f32[C, D + 1], the points, and as a last coordinate the budgets.
      score: f32[C], higher is better, NaN is diverged or not told.
      told: how many rows are told.
    """
    key_model, key_fit = jax.random.split(stream(seed, round))
    return learnt(key_model, key_fit, unit, score, told)[0]


@jit
def expected(belief: Belief, at: Float32[Array, "Q D"]) -> Float32[Array, "Q"]:
    """Compute what a process expects of f32[Q, D] points at the full budget."""
    cross = kernel(belief.fit, belief.unit, full(at))
    return belief.weights @ jnp.where(belief.present[:, None], cross, 0.0)


def full(unit: Float32[Array, "Q D"]) -> Float32[Array, "Q budgets"]:
    """Put points, f32[Q, D], at the full budget: f32[Q, D + 1]."""
    return jnp.concatenate([unit, jnp.ones((unit.shape[0], 1))], axis=1)


def first(belief: Belief) -> Bool[Array, "N"]:
    """Tell which rows are a trial's first: those at whose point nothing was told at a smaller budget."""
    unit, budget = belief.unit[:, :-1], belief.unit[:, -1]
    same = jnp.all(unit[:, None] == unit[None], axis=2) & (budget[:, None] > budget[None])
    return ~jnp.any(same & belief.present[None], axis=1)


@partial(jit, static_argnames=("size", "trees"))
def batch(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    left: Float32[Array, ""],
    base: Float32[Array, "others D"],
    belief: Belief,
    size: int,
    trees: int,
) -> Float32[Array, "{size} D"]:
    """Choose the next batch as `GP` does, by what is expected at the full budget.

    Args:
      seed, round: of all that is drawn.
      left: the share of the rounds that come after this one.
      base: f32[others, D], points spread over the cube.
      belief: of the process.
      size: how many points.
      trees: of a forest that picks every other row, 0 for none.
    """
    key_near, key_trees = jax.random.split(jax.random.fold_in(stream(seed, round), 1))
    unit, present, third = belief.unit[:, :-1], belief.present, CANDIDATES // 3
    hope, once = expected(belief, unit), present & first(belief)
    near = descendants(key_near, unit, jnp.where(once, hope, -jnp.inf), third)
    good = best_of_draws(seed, round, unit, hope, jnp.sum(present), TPE.good, third, TPE.candidates)
    candidates = jnp.concatenate([base, good, near])
    radius = spacing(unit, belief.score, once, left)
    return candidates[chosen(key_trees, belief, full(candidates), candidates, radius, size, trees)]
