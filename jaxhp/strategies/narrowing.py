"""Narrowing the range round by round to where the good values are.

`shape="cem"` is the cross-entropy method in the unit cube (Rubinstein 1999, https://doi.org/10.1023/A:1010091220143)
with CMA-ES's log-rank weights (https://arxiv.org/abs/1604.00772). `shape="box"` is the literal recipe of "Deep
Learning from Scratch", section 6.5: sample uniformly in the bounding box of the best.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, PRNGKeyArray, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.edges import edges
from jaxhp.strategies.history import History, empty, ranks, stream
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.sobol import spread
from jaxhp.values import Error

SHAPES = ("cem", "box")
_ROOM = 256  # points that a history begins with room for; how sums over it are rounded depends on its room alone


@dataclass(frozen=True)
class Narrowing(Sampler):
    """Sobol points first; then points near the elites, which are the best 10% of all trials so far.

    Attributes:
      shape: "cem", a normal distribution fitted to the elites; "box", the elites' bounding box.
      elite: the fraction of the trials so far that are elites; at least D + 1 are.
      floor: the least standard deviation of "cem", or half-width of "box", in units of the cube.
      explore: the fraction of the points that stays spread over the whole cube ("cem" only).
    """

    rounds: int = 4
    shape: str = "cem"
    elite: float = 0.1
    floor: float = 0.05
    explore: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.shape not in SHAPES:
            raise Error(f"Narrowing shape: expected 'cem' or 'box', got {self.shape!r}")
        for name in ("elite", "floor", "explore"):
            if not 0 < getattr(self, name) < 1:
                raise Error(f"Narrowing {name}: expected a fraction between 0 and 1, got {getattr(self, name)!r}")
            object.__setattr__(self, name, float(getattr(self, name)))

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> History:
        """Make the state before the first ask: see `Sampler.init`.

        Its room depends on what is told alone, so a search asks for the same points however many rounds follow.
        """
        return empty(key, dim, epochs, _ROOM)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose `size` points, f32[size, D], around the elites."""
        base = spread(history.key, history.asked, size, history.dim)
        if history.told == 0:
            return base
        core = _normal if self.shape == "cem" else _box
        settings = (self.elite, self.floor, self.explore)
        return core(history.key, base, history.unit, history.score, history.told, history.round, *settings)

    def edges(self, state: History) -> Int32[np.ndarray, "D"]:
        """Find the axes at whose ends the best of everything told lie, as i32[D] of -1, 0 or 1; see `edges`."""
        return edges(np.asarray(state.unit), np.asarray(state.score))


def elites(
    score: Float32[Array, "C"], told: Int[Array, ""], fraction: Float[Array, ""] | float, dim: int
) -> tuple[Int32[Array, "C"], Int32[Array, ""]]:
    """Rank scores, and count the elites.

    Args:
      score: f32[C], higher is better, NaN is diverged or not told.
      told: how many are told.
      fraction: the share of the told that are elites; at least `dim` + 1 are.
      dim: D, the axes of the unit cube.

    Returns:
      i32[C] ranks from 1 (ties share the better one), and up to which one they are elites.
    """
    count = jnp.maximum(dim + 1, jnp.ceil(fraction * told.astype(jnp.float32)).astype(jnp.int32))
    return ranks(score), count


@jit
def _normal(
    seed: UInt32[Array, "2"],
    base: Float32[Array, "P D"],
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
    round: Int[Array, ""],
    fraction: Float[Array, ""],
    floor: Float[Array, ""],
    explore: Float[Array, ""],
) -> Float32[Array, "P D"]:
    """Map the Sobol points `base` to a normal distribution around the elites."""
    size, dim = base.shape
    rank, count = elites(score, told, fraction, dim)
    weight = jnp.maximum(jnp.log(count.astype(jnp.float32) + 0.5) - jnp.log(rank.astype(jnp.float32)), 0)
    weight = jnp.where(jnp.isnan(score), 0, weight)  # [C]
    total = jnp.sum(weight)
    weight = weight / jnp.maximum(total, 1e-6)
    mean = weight @ unit  # [D]
    deviation = jnp.maximum(jnp.sqrt(weight @ jnp.square(unit - mean[None])), floor)  # [D]
    normal = jax.scipy.special.ndtri(jnp.clip(base, 2.0**-24, 1 - 2.0**-24))
    near = reflect(mean[None] + deviation[None] * normal)
    wide = jax.random.uniform(stream(seed, round), (size, 1)) < explore
    return jnp.where(wide | (total == 0), base, near)


@jit
def _box(
    seed: UInt32[Array, "2"],
    base: Float32[Array, "P D"],
    unit: Float32[Array, "C D"],
    score: Float32[Array, "C"],
    told: Int[Array, ""],
    round: Int[Array, ""],
    fraction: Float[Array, ""],
    floor: Float[Array, ""],
    explore: Float[Array, ""],
) -> Float32[Array, "P D"]:
    """Squeeze the Sobol points `base` into the bounding box of the elites."""
    del seed, round, explore
    rank, count = elites(score, told, fraction, base.shape[1])
    chosen = ((rank <= count) & ~jnp.isnan(score))[:, None]
    low, high = jnp.min(unit, 0, where=chosen, initial=1.0), jnp.max(unit, 0, where=chosen, initial=0.0)
    middle, half = (low + high) / 2, jnp.maximum((high - low) / 2, floor)
    low, high = jnp.maximum(middle - half, 0), jnp.minimum(middle + half, 1)
    return jnp.where(jnp.any(chosen), low[None] + (high - low)[None] * base, base)


def reflect(unit: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Fold points back into [0, 1] at its bounds."""
    return 1 - jnp.abs(1 - jnp.mod(unit, 2.0))
