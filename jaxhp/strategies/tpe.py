"""The tree-structured Parzen estimator, multivariate and in batches.

Bergstra et al., https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization; the multivariate
kernels are BOHB's (https://arxiv.org/abs/1807.01774). A point is worth the ratio of two densities, that of the good
points over that of the others, each a mixture of normal kernels cut off at the cube's bounds, and of one uniform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float32, Int, Int32, Key, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import History, ranks, stream
from jaxhp.strategies.sampler import Sampler, positive
from jaxhp.strategies.sobol import spread
from jaxhp.values import Error

OTHERS = 512  # rows, drawn at random, that the density of the others is estimated from


@dataclass(frozen=True)
class TPE(Sampler):
    """Sobol points first; then, for each row, the best of a few candidates drawn from the good points' density.

    Diverged trials count among the others, so the edge of stability is learned.

    Attributes:
      good: the fraction of all trials so far that counts as good; at least D + 1 do.
      candidates: how many are drawn for each row.
    """

    rounds: int = 4
    good: float = 0.1
    candidates: int = 8

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.good < 1:
            raise Error(f"TPE good: expected a fraction between 0 and 1, got {self.good!r}")
        object.__setattr__(self, "good", float(self.good))
        object.__setattr__(self, "candidates", positive(self, "candidates", self.candidates))

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose `size` points, f32[size, D], where the good ones are dense and the others are not."""
        if history.told == 0:
            return spread(history.key, history.asked, size, history.dim)
        seen = (history.unit, history.score, history.told)
        return best_of_draws(history.key, history.round, *seen, self.good, size, self.candidates)


@partial(jit, static_argnames=("fraction", "size", "candidates"))
def best_of_draws(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
    fraction: float,
    size: int,
    candidates: int,
) -> Float32[Array, "{size} D"]:
    """Choose the most promising of `candidates` draws for each row.

    Args:
      seed, round: of all that is drawn.
      unit: f32[C, D], the points.
      score: f32[C], higher is better, NaN is diverged or not told.
      told: how many rows are told.
      fraction: of the told that counts as good.
      size: how many points.
      candidates: how many are drawn for each.
    """
    rows, dim = unit.shape
    key_rows, key_draw = jax.random.split(stream(seed, round))
    rank = ranks(score)
    count = jnp.maximum(dim + 1, jnp.ceil(fraction * told.astype(jnp.float32)).astype(jnp.int32))
    present = jnp.arange(rows) < told
    good = present & (rank <= count) & ~jnp.isnan(score)
    # ties may make more of them good than there is room for here: then those told first
    best, is_good = _gather(
        unit, good, jnp.where(good, rank, rows + 1), min(rows, math.ceil(fraction * rows) + dim + 1)
    )
    chance = jax.random.uniform(key_rows, (rows,))
    rest, is_rest = _gather(unit, present & ~good, jnp.where(present & ~good, chance, 2.0), min(rows, OTHERS))
    wide_good, wide_rest = widths(best, is_good), widths(rest, is_rest)
    drawn = draw(key_draw, best, is_good, wide_good, size * candidates)
    worth = jnp.log(density(drawn, best, is_good, wide_good)) - jnp.log(density(drawn, rest, is_rest, wide_rest))
    winner = jnp.argmax(worth.reshape(candidates, size), axis=0)
    return drawn.reshape(candidates, size, dim)[winner, jnp.arange(size)]


def _gather(
    unit: Float32[Array, "C D"], chosen: Bool[Array, "C"], order: Int32[Array, "C"] | Float32[Array, "C"], size: int
) -> tuple[Float32[Array, "{size} D"], Bool[Array, "{size}"]]:
    """Take the `size` first rows by `order`, and tell which of them are chosen."""
    first = jnp.argsort(order, stable=True)[:size]
    return unit[first], chosen[first]


def widths(unit: Float32[Array, "K D"], chosen: Bool[Array, "K"]) -> Float32[Array, "D"]:
    """Choose the kernels' standard deviations by Scott's rule, within [0.02, 0.3].

    Args:
      unit: f32[K, D], the kernels' centres.
      chosen: bool[K], which of them count.
    """
    count = jnp.sum(chosen).astype(jnp.float32)
    weight = (chosen.astype(jnp.float32) / jnp.maximum(count, 1))[None]
    mean = weight @ unit
    deviation = jnp.sqrt(weight @ jnp.square(unit - mean))[0]
    return jnp.clip(deviation * jnp.maximum(count, 1) ** (-1 / (unit.shape[1] + 4)), 0.02, 0.3)


def draw(
    key: Key[Array, ""],
    unit: Float32[Array, "K D"],
    chosen: Bool[Array, "K"],
    width: Float32[Array, "D"],
    count: int,
) -> Float32[Array, "{count} D"]:
    """Draw from the mixture of the chosen points' kernels and one uniform.

    Args:
      key: of all that is drawn.
      unit: f32[K, D], the kernels' centres.
      chosen: bool[K], which of them count; these come first.
      width: f32[D], the kernels' standard deviations.
      count: how many draws.
    """
    pick, place = jax.random.split(key)
    known = jnp.sum(chosen)
    centre = jax.random.randint(pick, (count,), 0, known + 1)  # the last is the uniform
    u = jax.random.uniform(place, (count, unit.shape[1]), minval=1e-6, maxval=1 - 1e-6)
    mean = unit[jnp.minimum(centre, unit.shape[0] - 1)]
    low, high = ndtr((0 - mean) / width[None]), ndtr((1 - mean) / width[None])
    near = mean + width[None] * ndtri(low + u * (high - low))
    return jnp.clip(jnp.where((centre == known)[:, None], u, near), 0, 1)


def density(
    at: Float32[Array, "Q D"],
    unit: Float32[Array, "K D"],
    chosen: Bool[Array, "K"],
    width: Float32[Array, "D"],
) -> Float32[Array, "Q"]:
    """Compute the density of the mixture of the chosen points' kernels and one uniform.

    Args:
      at: f32[Q, D], where.
      unit, chosen, width: as in `draw`.
    """
    mass = jnp.prod(ndtr((1 - unit) / width[None]) - ndtr((0 - unit) / width[None]), axis=1)
    weight = jnp.where(chosen, 1 / mass, 0.0)
    x, y = (at - 0.5) / width[None], (unit - 0.5) / width[None]
    exponent = x @ y.T - jnp.sum(y * y, axis=1)[None] / 2 - jnp.sum(x * x, axis=1)[:, None] / 2
    peak = jnp.sum(jnp.log(width * math.sqrt(2 * math.pi)))
    kernels = jnp.exp(jnp.minimum(exponent - peak, 80)) @ weight
    return (kernels + 1) / (jnp.sum(chosen).astype(jnp.float32) + 1)
