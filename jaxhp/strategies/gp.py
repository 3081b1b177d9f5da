"""Batch Bayesian optimisation with a Gaussian process.

A batch is picked one slot after another from a set of candidates by an upper confidence bound whose variance already
counts the slots picked before (BUCB: Desautels et al., https://jmlr.org/papers/v15/desautels14a.html). The slots
differ in how much the variance weighs, from exploiting to exploring, which makes one batch a portfolio of
acquisitions; a large weight on little mean is the pure exploration of UCB-PE
(https://arxiv.org/abs/1304.5350, and Vizier, https://arxiv.org/abs/2408.11527).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from jaxhp.strategies.gaussian import FLOOR, Fit, condition, maximise, predict
from jaxhp.strategies.history import History, stream
from jaxhp.strategies.narrowing import reflect
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.sobol import spread

MODELLED = 1024  # the most points the process is conditioned on
FITTED = 256  # the most points its parameters are fitted to
CANDIDATES = 2048
BOLDNESS = (0.2, 4.0)  # the least and the largest weight of the standard deviation in a batch


@dataclass(frozen=True)
class GP(Sampler):
    """Sobol points first; then batches from a Gaussian process fitted to the normal scores of the ranks.

    Of a history beyond 1,024 points the process sees the best half of that and a random choice of the others.
    """

    rounds: int = 4

    def points(self, history: History, size: int) -> jax.Array:
        base = spread(history.key, history.asked, max(CANDIDATES // 2, size), history.dim)
        if history.told == 0:
            return base[:size]
        return _batch(history.key, history.round, base, history.unit, history.score, history.told, size)


def normal_scores(score: jax.Array, told: jax.Array) -> jax.Array:
    """f32[C]: the standard normal quantiles of the scores' ranks, ties in the middle; diverged are tied for worst."""
    cost = jnp.where(jnp.isnan(score), jnp.inf, -score)
    ordered = jnp.sort(cost)
    before = jnp.searchsorted(ordered, cost, side="left")
    through = jnp.minimum(jnp.searchsorted(ordered, cost, side="right"), told)
    quantile = (before + through).astype(jnp.float32) / (2 * jnp.maximum(told, 1).astype(jnp.float32))
    return jnp.where(jnp.arange(score.shape[0]) < told, -jax.scipy.special.ndtri(jnp.clip(quantile, 1e-6, 1 - 1e-6)), 0)


def subset(key: jax.Array, target: jax.Array, told: jax.Array, size: int) -> jax.Array:
    """i32[size]: the rows of the best half of `size` targets, and a random choice of the others; absent rows last."""
    rows = jnp.arange(target.shape[0])
    place = jnp.zeros_like(rows).at[jnp.argsort(jnp.where(rows < told, -target, jnp.inf))].set(rows)
    chance = 1 + jax.random.uniform(key, target.shape)
    priority = jnp.where(place < size // 2, 0.0, jnp.where(rows < told, chance, 3.0))
    return jnp.sort(jnp.argsort(priority)[:size])


@partial(jax.jit, static_argnames="size")
def _batch(seed, round, base, unit, score, told, size: int) -> jax.Array:
    """f32[size, D]: the next batch."""
    key_model, key_fit, key_near = jax.random.split(stream(seed, round), 3)
    target = normal_scores(score, told)
    rows = subset(key_model, target, told, min(MODELLED, target.shape[0]))
    unit, target, present = unit[rows], target[rows], rows < told
    few = subset(key_fit, target, jnp.sum(present), min(FITTED, target.shape[0]))
    fit = maximise(unit[few], target[few], present[few])
    factor, weights, smooth = condition(fit, unit, target, present)
    near = neighbours(key_near, unit, jnp.where(present, smooth, -jnp.inf), base.shape[0])
    candidates = jnp.concatenate([base, near])
    mean, cov = predict(fit, unit, present, factor, weights, candidates)
    return candidates[pick(fit, mean, cov, size)]


def neighbours(key: jax.Array, unit: jax.Array, smooth: jax.Array, count: int) -> jax.Array:
    """f32[count, D]: points around those with the highest smoothed targets, at several distances."""
    dim = unit.shape[1]
    best = jnp.argsort(-smooth)[: min(16, smooth.shape[0])]
    key_width, key_move, key_axes = jax.random.split(key, 3)
    centre = unit[best][jnp.arange(count) % best.shape[0]]
    width = 10.0 ** jax.random.uniform(key_width, (count, 1), minval=-2.3, maxval=-0.5)
    moved = jax.random.bernoulli(key_axes, min(1.0, max(0.5, 4 / dim)), (count, dim))
    return reflect(centre + jnp.where(moved, width * jax.random.normal(key_move, (count, dim)), 0.0))


def pick(fit: Fit, mean: jax.Array, cov: jax.Array, size: int) -> jax.Array:
    """i32[size]: candidates in the order of picking, no one twice."""
    least, largest = BOLDNESS
    # neighbouring slots differ in boldness, so that any first few of a batch are a portfolio too
    share = (jnp.arange(size, dtype=jnp.float32) * 0.618034 + 0.5) % 1.0
    boldness = least * (largest / least) ** share
    noise = jnp.exp(fit.noise) + FLOOR

    def step(slot, carry):
        mean, variance, columns, picked = carry
        at = jnp.argmax(mean + boldness[slot] * jnp.sqrt(jnp.maximum(variance, 0.0)))
        column = (cov[at] - columns[:, at] @ columns) / jnp.sqrt(jnp.maximum(variance[at], 0.0) + noise)
        variance = variance - column * column
        return mean.at[at].set(-jnp.inf), variance, columns.at[slot].set(column), picked.at[slot].set(at)

    start = (mean, jnp.diagonal(cov), jnp.zeros((size, mean.shape[0])), jnp.zeros(size, jnp.int32))
    return jax.lax.fori_loop(0, size, step, start)[-1]
