"""Population based training: members that lag take over a winner's weights and a perturbed copy of its config.

Jaderberg et al., https://arxiv.org/abs/1711.09846: truncation selection, and a perturbation of each hyperparameter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, PRNGKeyArray, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import History, append, check, empty, finite, snap, stream
from jaxhp.strategies.narrowing import reflect
from jaxhp.strategies.sampler import Sampler, fresh, positive
from jaxhp.strategies.sobol import Sobol, spread
from jaxhp.trials import Proposal, Rung
from jaxhp.values import Error


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PBTState:
    """The last population, and an earlier search's points if any were recalled."""

    seen: History
    unit: Float32[Array | np.ndarray, "P D"]  # the last population
    score: Float32[Array | np.ndarray, "P"]  # its scores; NaN before they are told
    round: int = field(default=0, metadata={"static": True})
    told: int = field(default=0, metadata={"static": True})  # rounds told


@dataclass(frozen=True)
class PBT:
    """All members train all the time; between generations the worst copy the best and explore from there.

    A member that is not replaced keeps its point bit for bit. Diverged members are always replaced, by a copy of a
    winner, or by a fresh point if all diverged.

    Attributes:
      population: members.
      generations: stretches of training, of about equal length; at most one an epoch.
      exploit: the fraction of members that is replaced, and the fraction that is copied.
      step: how far a copy's parameters move, up or down, in units of the cube (0.1 at the middle of the cube is the
        paper's factors of 0.8 and 1.2); reflected at the bounds.
      resample: the probability with which a parameter of a copy is drawn anew instead.
      inner: draws the first population; Sobol if None.
    """

    __no_type_check__ = True  # of the settings: `__post_init__` checks them, with messages of its own

    population: int = 32
    generations: int = 8
    exploit: float = 0.25
    step: float = 0.1
    resample: float = 0.1
    inner: Sampler | None = None

    def __post_init__(self):
        for name in ("population", "generations"):
            object.__setattr__(self, name, positive(self, name, getattr(self, name)))
        for name, most in (("exploit", 0.5), ("step", 1), ("resample", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise Error(f"PBT {name}: expected a number from 0 to {most}, got {getattr(self, name)!r}")
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.inner is not None and not isinstance(self.inner, Sampler):
            raise Error(f"PBT inner: expected a strategy that samples points, got {self.inner!r}")

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks: one `Rung` a generation, each with the whole population."""
        stretches = min(self.generations, epochs)
        return tuple(Rung(self.population, round(epochs * i / stretches)) for i in range(1, stretches + 1))

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> PBTState:
        """Make the state before the first ask.

        Args:
          key: all that the strategy draws comes from it.
          dim: D, the axes of the unit cube.
          epochs: the full budget of a trial.

        Raises:
          Error: `dim` or `epochs` is no integer of at least 1.
        """
        seen = empty(key, dim, epochs, 1)
        return PBTState(seen, jnp.zeros((0, dim), jnp.float32), jnp.zeros(0, jnp.float32))

    def ask(self, state: PBTState) -> tuple[Proposal, PBTState]:
        """Propose the next generation. After the schedule it goes on, in stretches as long as the last.

        Returns:
          The proposal, and the state past this ask.

        Raises:
          Error: the last generation has not been told.
        """
        if state.told < state.round:
            raise Error(f"ask: expected the scores of round {state.round} to be told first, none were")
        schedule = self.schedule(state.seen.epochs)
        beyond = max(0, state.round - len(schedule) + 1)
        last, stretch = schedule[-1].epochs, schedule[-1].epochs - (schedule[-2].epochs if len(schedule) > 1 else 0)
        budget = last + beyond * stretch if beyond else schedule[state.round].epochs
        if state.round:
            settings = (int(self.exploit * self.population), self.step, self.resample)
            unit, parent = _evolve(state.seen.key, state.round, state.unit, state.score, *settings)
        else:
            unit = snap((self.inner or Sobol()).points(state.seen, self.population))
            parent = fresh(self.population)
        score = np.full(self.population, np.nan, np.float32)
        return Proposal(unit, parent, budget), replace(state, unit=unit, score=score, round=state.round + 1)

    def tell(self, state: PBTState, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]) -> PBTState:
        """Learn the scores of the last generation.

        Args:
          state: past the ask for it.
          proposal: its P points, as they were trained.
          scores: f32[P], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        check(proposal.unit, scores, state.seen.dim)
        if not state.round or np.shape(scores) != state.score.shape:
            raise Error(f"scores: expected shape {state.score.shape}, the last proposal's, got {np.shape(scores)}")
        unit, score = snap(jnp.asarray(proposal.unit)), finite(jnp.asarray(scores))
        return replace(state, unit=unit, score=score, told=state.round)

    def recall(
        self, state: PBTState, unit: Float[Array | np.ndarray, "N D"], scores: Float[Array | np.ndarray, "scores"]
    ) -> PBTState:
        """Warm start `inner` with an earlier search.

        Args:
          state: before the first ask.
          unit: f32[N, D], its points in the unit cube.
          scores: f32[N], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        return replace(state, seen=append(state.seen, unit, scores))


@jit
def _evolve(
    seed: UInt32[Array, "2"],
    round: Int[Array, ""],
    unit: Float32[Array, "P D"],
    score: Float32[Array, "P"],
    replaced: Int[Array, ""],
    step: Float[Array, ""],
    resample: Float[Array, ""],
) -> tuple[Float32[Array, "P D"], Int32[Array, "P"]]:
    """Compute the next points and parents: `replaced` losers, and the diverged, copy and explore."""
    size, dim = unit.shape
    rows = jnp.arange(size, dtype=jnp.int32)
    order = jnp.argsort(jnp.where(jnp.isnan(score), jnp.inf, -score), stable=True).astype(jnp.int32)
    place = jnp.zeros(size, jnp.int32).at[order].set(rows)  # [P], 0 is the best
    healthy = jnp.sum(~jnp.isnan(score))
    loses = (place >= size - replaced) | jnp.isnan(score)
    winners = jnp.clip(replaced, 1, jnp.maximum(healthy, 1))
    pick, move, again, draw = jax.random.split(stream(seed, round), 4)
    winner = order[jax.random.randint(pick, (size,), 0, winners)]
    sign = jax.random.rademacher(move, (size, dim), jnp.float32)
    explored = reflect(unit[winner] + step * sign)
    explored = jnp.where(
        jax.random.bernoulli(again, resample, (size, dim)), jax.random.uniform(draw, (size, dim)), explored
    )
    lost = jnp.where(loses[:, None], explored, unit)
    new = spread(seed, round * size, size, dim)
    parent = jnp.where(loses, winner, rows)
    return snap(jnp.where(healthy == 0, new, lost)), jnp.where(healthy == 0, -1, parent).astype(jnp.int32)
