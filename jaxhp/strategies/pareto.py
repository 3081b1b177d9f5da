"""Several objectives by random scalarisations: ParEGO, in batches.

Knowles, ParEGO, https://doi.org/10.1109/TEVC.2005.851274. Each slot belongs to a weight vector; everything told is made
one score by its augmented Tchebycheff function, and a sampler of one objective proposes points for it. Every point of
the front is the best for some weights, so the front comes out of many of them. What breaks constraints ranks below all
that keep them, by how far it is off (Deb, https://doi.org/10.1016/S0045-7825(99)00389-8).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.gp import GP
from jaxhp.strategies.history import History, append, finite, stream
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.sobol import spread
from jaxhp.trials import Proposal
from jaxhp.values import Error

SLOTS = 8  # of a round that share a weight vector
AUGMENTED = 0.05  # the weight of the sum in the Tchebycheff function, Knowles's
_WEIGHTS = 0x9A2E70  # the stream of the weights, so that they are no other draw's


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Told(History):
    """A history of several objectives; its score is the first of them."""

    scores: Float32[Array | np.ndarray, "C K"] = field(kw_only=True)  # higher is better; K is 0 until some are told
    violation: Float32[Array | np.ndarray, "C"] = field(kw_only=True)  # see `Pareto.tell_objectives`


@dataclass(frozen=True)
class Pareto(Sampler):
    """Sobol points first; then points of another sampler, for many weights of the objectives at once.

    With one objective all weights are alike, and it is the sampler with constraints.

    Attributes:
      inner: the sampler of one objective, such as `TPE()`, which is quicker to compile and to ask, and finds less on
        most problems (`experiments/pareto.py`); None: `GP`. Its own population and rounds do not count.
    """

    rounds: int = 4
    inner: Sampler | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.inner is not None and not isinstance(self.inner, Sampler):
            raise Error(f"Pareto inner: expected a sampler such as TPE() or None, got {self.inner!r}")

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> Told:
        """Make the state before the first ask; see `Sampler.init`."""
        of = super().init(key, dim, epochs)
        nothing = jnp.zeros((len(of.score), 0), jnp.float32)
        return Told(**vars(of), scores=nothing, violation=jnp.zeros_like(of.score))

    def tell(self, state: History, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]) -> History:
        """Learn the scores f32[P] of one objective; see `tell_objectives`."""
        return self.tell_objectives(state, proposal, jnp.asarray(scores)[:, None], jnp.zeros(len(scores)))

    def recall(
        self, state: History, unit: Float[Array | np.ndarray, "N D"], scores: Float[Array | np.ndarray, "scores"]
    ) -> History:
        """Learn the scores f32[N] of one objective from an earlier search, before the first ask."""
        return _learnt(state, unit, jnp.asarray(scores)[:, None], jnp.zeros(len(scores)))

    def tell_objectives(
        self,
        state: History,
        proposal: Proposal,
        scores: Float32[Array | np.ndarray, "P K"],
        violation: Float32[Array | np.ndarray, "P"],
    ) -> History:
        """Learn the scores of points in K objectives.

        Args:
          state: the state so far.
          proposal: its P points count, whether they were asked for or not.
          scores: f32[P, K], higher is better; NaN is diverged.
          violation: f32[P], how far each is from keeping all constraints; 0: it keeps them; infinite: nobody knows.

        Raises:
          Error: there are more scores or fewer than points, they are of other objectives than before, or points lie
            outside the unit cube.
        """
        return _learnt(state, proposal.unit, scores, violation)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose `size` points, f32[size, D], a few for each of many weights."""
        assert isinstance(history, Told)
        inner: Sampler = GP(self.population, self.rounds) if self.inner is None else self.inner
        if history.told == 0:
            return spread(history.key, history.asked, size, history.dim)
        count = -(-size // SLOTS)
        keys, worth = scalarised(history.key, history.round, history.scores, history.violation, history.told, count)
        parts = [inner.points(replace(history, key=keys[j], score=worth[j]), SLOTS) for j in range(count)]
        return jnp.stack(parts, 1).reshape(count * SLOTS, history.dim)[:size]


def _learnt(
    state: History,
    unit: Float[Array | np.ndarray, "..."],
    scores: Float[Array | np.ndarray, "..."],
    violation: Float[Array | np.ndarray, "..."],
) -> History:
    """Add told points to a history, see `Pareto.tell_objectives`."""
    assert isinstance(state, Told)
    scores, violation = jnp.asarray(scores, jnp.float32), jnp.asarray(violation, jnp.float32)
    known = state.scores.shape[1] if state.told else scores.shape[1]
    if scores.ndim != 2 or scores.shape[1] != known or violation.shape != scores.shape[:1]:
        raise Error(f"scores: expected shape ({len(violation)}, {known}), objectives of each point, got {scores.shape}")
    after = append(state, unit, scores[:, 0])
    capacity, before = len(after.score), (state.scores if state.told else jnp.zeros((0, known), jnp.float32))
    more = ((0, capacity - len(before)), (0, 0))
    whole = jnp.pad(before, more, constant_values=jnp.nan)
    off = jnp.pad(state.violation, (0, capacity - len(state.violation)))
    at = (state.told, 0)
    return replace(
        after,
        scores=jax.lax.dynamic_update_slice(whole, finite(scores), at),
        violation=jax.lax.dynamic_update_slice(off, violation, at[:1]),
    )


@partial(jit, static_argnames=("count",))
def scalarised(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    scores: Float32[Array, "C K"],
    violation: Float32[Array, "C"],
    told: Int[Array, ""],
    count: int,
) -> tuple[UInt32[Array, "{count} 2"], Float32[Array, "{count} C"]]:
    """Make one score of several objectives, for each of `count` weight vectors, which are spread over the simplex.

    Objectives count from the best that a feasible point has (0) to the worst on the front (1).

    Args:
      seed: u32[2], of all that is drawn.
      round: which weights are the next.
      scores, violation: see `Pareto.tell_objectives`.
      told: how many are told.

    Returns:
      u32[count, 2], a seed for each weight vector, and f32[count, C], higher is better; NaN is diverged or not told.
    """
    rows, k = scores.shape
    drawn = stream(seed, _WEIGHTS)
    simplex = jnp.sort(spread(jax.random.bits(drawn, (2,), jnp.uint32), round * count, count, max(k - 1, 1)), axis=1)
    edges = jnp.pad(simplex[:, : k - 1], ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    weights = jnp.diff(edges, axis=1)  # [J, K]
    present = (jnp.arange(rows) < told) & ~jnp.any(jnp.isnan(scores), axis=1)
    feasible = present & (violation <= 0)
    counts = jnp.where(jnp.any(feasible), feasible, present)
    low, high = (jnp.where(counts[:, None], scores, empty) for empty in (jnp.inf, -jnp.inf))
    better = jnp.all(high[None] >= scores[:, None], axis=2) & jnp.any(high[None] > scores[:, None], axis=2)
    front = counts & ~jnp.any(better, axis=1)
    best, worst = jnp.max(high, axis=0), jnp.min(low, axis=0)
    nadir = jnp.min(jnp.where(front[:, None], scores, jnp.inf), axis=0)
    extent = jnp.where(best > nadir, best - nadir, jnp.where(best > worst, best - worst, 1.0))
    costs = weights[:, None] * ((best[None] - scores) / extent[None])[None]  # [J, C, K]
    worth = -(jnp.max(costs, axis=2) + AUGMENTED * jnp.sum(costs, axis=2))
    least = jnp.min(jnp.where(feasible[None], worth, jnp.inf), axis=1, keepdims=True)
    behind = jnp.where(jnp.isfinite(least), least, 0.0) - 1 - violation[None]
    worth = jnp.where(feasible[None], worth, jnp.where(present[None], behind, jnp.nan))
    numbers = round * count + jnp.arange(count)
    seeds = jax.vmap(lambda number: jax.random.bits(jax.random.fold_in(drawn, number), (2,), jnp.uint32))(numbers)
    return seeds, finite(worth)
