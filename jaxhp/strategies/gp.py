"""Batch Bayesian optimisation with a Gaussian process, and with a forest beside it.

A batch is picked one row after another from a set of candidates by an upper confidence bound whose variance already
counts the rows picked before (BUCB: Desautels et al., https://jmlr.org/papers/v15/desautels14a.html). The rows
differ in how much the variance weighs, from exploiting to exploring, which makes one batch a portfolio of
acquisitions; a large weight on little mean is the pure exploration of UCB-PE
(https://arxiv.org/abs/1304.5350, and Vizier, https://arxiv.org/abs/2408.11527).

A forest, if there is one, has every other row. It is another kind of guess, so the two of them miss fewer optima than
either: the process knows smooth slopes, the forest finds narrow regions among bad points. They learn of each other's
rows, and have targets of their own: normal scores of the ranks, and exponential ones, in which the best count most.

Rows keep a distance from one another and from what was told: in early rounds, which have others after them to close
in, and wherever the told points show that a shorter step changes nothing (`spacing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int, Int32, Key, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.forest import forest
from jaxhp.strategies.gaussian import FLOOR, Fit, condition, maximise, predict
from jaxhp.strategies.history import History, stream
from jaxhp.strategies.narrowing import reflect
from jaxhp.strategies.sampler import Sampler, positive
from jaxhp.strategies.sobol import spread
from jaxhp.strategies.tpe import TPE

MODELLED = 1024  # the most points the process is conditioned on
FITTED = 256  # the most points its parameters are fitted to
CANDIDATES = 2048
BOLDNESS = (0.2, 4.0)  # the least and the largest weight of the standard deviation in a batch
FLAT = 0.75  # the distance that rows keep where neighbours tie, in units of that between told neighbours


class Belief(NamedTuple):
    """What a process knows: N points told, of which some count, and its fit to them."""

    unit: Float32[Array, "N D"]
    score: Float32[Array, "N"]
    quantile: Float32[Array, "N"]
    present: Bool[Array, "N"]
    fit: Fit
    factor: Float32[Array, "N N"]
    weights: Float32[Array, "N"]


@dataclass(frozen=True)
class GP(Sampler):
    """Sobol points first; then batches from a Gaussian process fitted to the normal scores of the ranks.

    Attributes:
      trees: how many trees a forest has that picks every other row; 0 for none.

    A third of the candidates are Sobol points, a third descend from the best, a third are what TPE would propose.
    Of a history beyond 1,024 points the process sees the best half of that and a random choice of the others.
    """

    rounds: int = 4
    trees: int = 0

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "trees", positive(self, "trees", self.trees, least=0))

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose a batch of `size` points, f32[size, D]; Sobol points while nothing is told."""
        third = CANDIDATES // 3
        base = spread(history.key, history.asked, max(third, size), history.dim)
        if history.told == 0:
            return base[:size]
        candidates = jnp.concatenate([base, TPE().points(history, third)])
        left = jnp.float32(max(0, self.rounds - 1 - history.round) / max(1, self.rounds - 1))
        seen = (history.unit, history.score, history.told)
        return _batch(history.key, history.round, left, candidates, *seen, size, self.trees)


def quantiles(score: Float32[Array, "C"], told: Int[Array, ""]) -> Float32[Array, "C"]:
    """Compute the share of the told scores that are better, ties in the middle; diverged are tied for worst.

    Args:
      score: f32[C], higher is better; NaN is diverged or not told.
      told: how many are told.
    """
    cost = jnp.where(jnp.isnan(score), jnp.inf, -score)
    ordered = jnp.sort(cost)
    before = jnp.searchsorted(ordered, cost, side="left")
    through = jnp.minimum(jnp.searchsorted(ordered, cost, side="right"), told)
    quantile = (before + through).astype(jnp.float32) / (2 * jnp.maximum(told, 1).astype(jnp.float32))
    return jnp.clip(quantile, 1e-6, 1 - 1e-6)


def subset(key: Key[Array, ""], target: Float32[Array, "C"], told: Int[Array, ""], size: int) -> Int32[Array, "{size}"]:
    """Choose rows: the best half of `size` targets, and a random choice of the others; absent rows come last.

    Args:
      key: of the random choice.
      target: f32[C], higher is better.
      told: how many rows, from the first, are present.
      size: how many are chosen.
    """
    rows = jnp.arange(target.shape[0])
    place = jnp.zeros_like(rows).at[jnp.argsort(jnp.where(rows < told, -target, jnp.inf))].set(rows)
    chance = 1 + jax.random.uniform(key, target.shape)
    priority = jnp.where(place < size // 2, 0.0, jnp.where(rows < told, chance, 3.0))
    return jnp.sort(jnp.argsort(priority)[:size])


@partial(jit, static_argnames=("size", "trees"))
def _batch(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    left: Float32[Array, ""],
    others: Float32[Array, "others D"],
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
    size: int,
    trees: int,
) -> Float32[Array, "{size} D"]:
    """Choose the next batch; `left` is the share of the rounds that come after it."""
    key_model, key_fit, key_near, key_trees = jax.random.split(stream(seed, round), 4)
    belief, smooth = learnt(key_model, key_fit, unit, score, told)
    unit, present = belief.unit, belief.present
    near = descendants(key_near, unit, jnp.where(present, smooth, -jnp.inf), CANDIDATES // 3)
    candidates = jnp.concatenate([others, near])
    radius = spacing(unit, belief.score, present, left)
    return candidates[chosen(key_trees, belief, candidates, candidates, radius, size, trees)]


def learnt(
    key_model: Key[Array, ""],
    key_fit: Key[Array, ""],
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
) -> tuple[Belief, Float32[Array, "N"]]:
    """Fit a process to what was told, or to as much of it as it can learn from.

    Args:
      key_model, key_fit: of the random choice of what it is conditioned on, and of what its parameters are fitted to.
      unit: f32[C, D], points.
      score: f32[C], higher is better, NaN is diverged or not told.
      told: how many rows are told.

    Returns:
      What it knows, and the smoothed targets f32[N].
    """
    quantile = quantiles(score, told)
    rows = subset(key_model, -quantile, told, min(MODELLED, score.shape[0]))
    unit, score, quantile, present = unit[rows], score[rows], quantile[rows], rows < told
    target = -jax.scipy.special.ndtri(quantile)
    few = subset(key_fit, target, jnp.sum(present), min(FITTED, target.shape[0]))
    fit = maximise(unit[few], target[few], present[few])
    factor, weights, smooth = condition(fit, unit, target, present)
    return Belief(unit, score, quantile, present, fit, factor, weights), smooth


def chosen(
    key: Key[Array, ""],
    belief: Belief,
    asked: Float32[Array, "Q D"],
    candidates: Float32[Array, "Q dim"],
    radius: Float32[Array, ""],
    size: int,
    trees: int,
) -> Int32[Array, "{size}"]:
    """Choose a batch among candidates.

    Args:
      key: of the forest.
      belief: of the process.
      asked: f32[Q, D], candidates as the process knows points.
      candidates: f32[Q, dim], the same as distances are measured between them.
      radius: the distance that rows keep.
      size: how many.
      trees: of a forest that picks every other row, 0 for none.
    """
    unit, present = belief.unit, belief.present
    beliefs = [predict(belief.fit, unit, present, belief.factor, belief.weights, asked)]
    if trees:
        beliefs.append(forest(key, unit, -1 - jnp.log(belief.quantile), present, asked, trees))
    mean, cov = (jnp.stack(each) for each in zip(*beliefs, strict=True))
    apart = squares(candidates, unit[:, : candidates.shape[1]])
    gap = jnp.min(jnp.where(present[None], apart, jnp.inf), axis=1)
    noise = jnp.exp(belief.fit.noise) + FLOOR
    return pick(mean, cov, noise, candidates, gap, radius, size)


def descendants(
    key: Key[Array, ""], unit: Float32[Array, "N D"], smooth: Float32[Array, "N"], count: int
) -> Float32[Array, "{count} D"]:
    """Draw descendants of the points with the highest smoothed targets: half of them crossed by pairs, and all moved.

    Crossing keeps the coordinates that the best agree in and mixes the others. The moves have several lengths, and
    half of them are of about two coordinates only.

    Args:
      key: of all that is drawn.
      unit: f32[N, D], points in the unit cube.
      smooth: f32[N], their smoothed targets.
      count: how many descendants.
    """
    dim = unit.shape[1]
    keys = jax.random.split(key, 8)
    best = unit[jnp.argsort(-smooth)[: min(32, smooth.shape[0])]]

    def parents(key):
        return best[jnp.minimum((8 * jax.random.exponential(key, (count,))).astype(jnp.int32), best.shape[0] - 1)]

    crossed = jax.random.bernoulli(keys[2], 0.5, (count, dim)) & jax.random.bernoulli(keys[3], 0.5, (count, 1))
    centre = jnp.where(crossed, parents(keys[0]), parents(keys[1]))
    width = 10.0 ** jax.random.uniform(keys[4], (count, 1), minval=-2.0, maxval=-0.3)
    share = jnp.where(jax.random.bernoulli(keys[5], 0.5, (count, 1)), 1.0, min(1.0, 2 / dim))
    moved = jax.random.uniform(keys[6], (count, dim)) < share
    return reflect(centre + jnp.where(moved, width * jax.random.normal(keys[7], (count, dim)), 0.0))


def squares(a: Float32[Array, "A D"], b: Float32[Array, "B D"]) -> Float32[Array, "A B"]:
    """Compute the squared distances between f32[A, D] and f32[B, D] points."""
    norms = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None]
    return jnp.maximum(norms - 2 * a @ b.T, 0.0)


def spacing(
    unit: Float32[Array, "N D"], score: Float32[Array, "N"], present: Bool[Array, "N"], left: Float32[Array, ""]
) -> Float32[Array, ""]:
    """Choose the distance that rows keep, from the best quarter of what was told.

    It is the median distance to a neighbour of another score, and shrinks to nothing as the rounds run out; unless
    neighbours score exactly equal. Then the space is finite, or the landscape flat at this scale, and a point close to
    a told one is wasted: rows keep up to `FLAT` of the median.

    Args:
      unit: f32[N, D], points in the unit cube.
      score: f32[N], their scores, NaN is diverged.
      present: bool[N], which rows count.
      left: the share of the rounds that are still to come.

    Returns:
      A distance, in units of the cube.
    """
    alive = present & ~jnp.isnan(score)
    pair = alive[:, None] & alive[None] & ~jnp.eye(score.shape[0], dtype=bool)
    equal = score[:, None] == score[None]
    square = squares(unit, unit)
    same = jnp.min(jnp.where(pair & equal, square, jnp.inf), axis=1)
    other = jnp.min(jnp.where(pair & ~equal, square, jnp.inf), axis=1)
    top = alive & (score >= jnp.nanquantile(jnp.where(alive, score, jnp.nan), 0.75))
    tied = jnp.sum(top & (same < other)) / jnp.maximum(jnp.sum(top), 1)
    typical = jnp.nanmedian(jnp.where(top & jnp.isfinite(other), jnp.sqrt(other), jnp.nan))
    return jnp.nan_to_num(typical) * jnp.maximum(left, jnp.minimum(10 * tied, FLAT))


def pick(
    mean: Float32[Array, "models Q"],
    cov: Float32[Array, "models Q Q"],
    noise: Float32[Array, ""],
    at: Float32[Array, "Q D"],
    gap: Float32[Array, "Q"],
    radius: Float32[Array, ""],
    size: int,
) -> Int32[Array, "{size}"]:
    """Pick candidates one after another, no one twice; the models take turns.

    Args:
      mean: f32[models, Q], what each model expects of each candidate.
      cov: f32[models, Q, Q], its covariance.
      noise: variance of an observation.
      at: f32[Q, D], the candidates.
      gap: f32[Q], their squared distances from what was told.
      radius: the distance that rows keep from that and from one another, and half of it whenever no candidate is left
        that does.
      size: how many are picked.

    Returns:
      i32[size], candidates in the order of picking.
    """
    models, least, largest = mean.shape[0], *BOLDNESS
    # neighbouring rows differ in boldness, so that any first few of a batch are a portfolio too
    share = ((jnp.arange(size) // models).astype(jnp.float32) * 0.618034 + 0.5) % 1.0
    boldness = least * (largest / least) ** share

    def step(row, carry):
        variance, columns, gap, radius, picked = carry  # [K, M], [K, size, M]
        apart = gap > radius * radius
        room = jnp.any(apart)
        mine = row % models
        bound = mean[mine] + boldness[row] * jnp.sqrt(jnp.maximum(variance[mine], 0.0))
        one = jnp.argmax(jnp.where(jnp.where(room, apart, gap >= 0), bound, -jnp.inf)).astype(jnp.int32)
        known = jnp.einsum("ks,ksm->km", columns[:, :, one], columns)
        column = (cov[:, one] - known) / jnp.sqrt(jnp.maximum(variance[:, one, None], 0.0) + noise)
        gap = jnp.minimum(gap, jnp.sum(jnp.square(at - at[one][None]), axis=1)).at[one].set(-1.0)
        radius = jnp.where(room, radius, radius / 2)
        return variance - column * column, columns.at[:, row].set(column), gap, radius, picked.at[row].set(one)

    columns = jnp.zeros((models, size, at.shape[0]))
    start = (jnp.diagonal(cov, axis1=1, axis2=2), columns, gap, radius, jnp.zeros(size, jnp.int32))
    return jax.lax.fori_loop(0, size, step, start)[-1]
