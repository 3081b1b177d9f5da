"""Successive halving: train many briefly, go on with the best, in place.

Successive halving: Jamieson and Talwalkar, https://arxiv.org/abs/1502.07943. Hyperband: Li et al.,
https://arxiv.org/abs/1603.06560. A model-based `inner` is the idea of BOHB: https://arxiv.org/abs/1807.01774.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, PRNGKeyArray, UInt32

from jaxhp.compiling import jit
from jaxhp.strategies.history import History, append, check, empty, finite, snap
from jaxhp.strategies.sampler import Sampler, fresh, positive
from jaxhp.strategies.sobol import Sobol, spread
from jaxhp.trials import Proposal, Rung
from jaxhp.values import Error


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HalvingState:
    """What was seen at each budget, and the population whose best go on."""

    levels: tuple[History, ...]  # one for each of the schedule's budgets, ascending
    unit: Float32[Array | np.ndarray, "P D"]  # the last population
    score: Float32[Array | np.ndarray, "P"]  # its scores; NaN before they are told
    asked: int = field(default=0, metadata={"static": True})  # fresh points so far
    round: int = field(default=0, metadata={"static": True})
    told: int = field(default=0, metadata={"static": True})  # rounds told
    epochs: int = field(default=1, metadata={"static": True})


@dataclass(frozen=True)
class Halving:
    """At each rung the best 1/eta of the members go on, with the same point and weights, to about eta times the epochs.

    The budgets run from `min_epochs` to the full budget in about equal ratios. A member that diverged never goes on;
    where too few are left, fresh points take the rows. After the last rung the next bracket starts anew.

    Attributes:
      population: rows of the first rung.
      eta: one in eta members goes on.
      min_epochs: the budget of the first rung.
      rounds: how many brackets the schedule has.
      refill: whether freed rows are filled with fresh points, which train from the start to the rung's budget. Every
        rung then has `population` rows.
      inner: draws the fresh points, from what was seen at the highest budget that has enough points (2 D + 2); its
        population and rounds play no part. Sobol if None.
    """

    __no_type_check__ = True  # of the settings: `__post_init__` checks them, with messages of its own

    population: int = 81
    eta: int = 3
    min_epochs: int = 1
    rounds: int = 1
    refill: bool = False
    inner: Sampler | None = None

    def __post_init__(self):
        for name, least in (("population", 1), ("eta", 2), ("min_epochs", 1), ("rounds", 1)):
            object.__setattr__(self, name, positive(self, name, getattr(self, name), least))
        if self.inner is not None and not isinstance(self.inner, Sampler):
            raise Error(f"{type(self).__name__} inner: expected a strategy that samples points, got {self.inner!r}")

    def budgets(self, epochs: int) -> tuple[int, ...]:
        """Compute the epochs of each rung, from `min_epochs` to `epochs` in about equal ratios.

        Raises:
          Error: `epochs` is less than `min_epochs`.
        """
        if epochs < self.min_epochs:
            raise Error(f"epochs: expected at least min_epochs={self.min_epochs}, got {epochs}")
        ratio = epochs / self.min_epochs
        steps = max(round(math.log(ratio, self.eta)), int(ratio > 1))
        return tuple(round(self.min_epochs * ratio ** (i / steps)) if steps else epochs for i in range(steps + 1))

    def brackets(self, epochs: int) -> tuple[tuple[Rung, ...], ...]:
        """Plan the rungs of each bracket; `Rung.trials` counts the survivors, before any refill."""
        return (self._bracket(self.population, self.budgets(epochs)),) * self.rounds

    def _bracket(self, population: int, budgets: tuple[int, ...]) -> tuple[Rung, ...]:
        """Plan one bracket: at each budget one in `eta` of the members before."""
        return tuple(Rung(max(1, population // self.eta**i), budget) for i, budget in enumerate(budgets))

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks, bracket after bracket.

        Args:
          epochs: the full budget of a trial.

        Returns:
          One `Rung` an ask.

        Raises:
          Error: `epochs` is less than `min_epochs`.
        """
        brackets = self.brackets(epochs)
        if self.refill:
            brackets = tuple(tuple(Rung(bracket[0].trials, r.epochs) for r in bracket) for bracket in brackets)
        return tuple(itertools.chain(*brackets))

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> HalvingState:
        """Make the state before the first ask.

        Args:
          key: all that the strategy draws comes from it.
          dim: D, the axes of the unit cube.
          epochs: the full budget of a trial.

        Raises:
          Error: `dim` or `epochs` is no integer of at least 1, or `epochs` less than `min_epochs`.
        """
        schedule = self.schedule(epochs)
        capacity = {budget: sum(r.trials for r in schedule if r.epochs == budget) for budget in _levels(schedule)}
        levels = tuple(empty(key, dim, epochs, rows) for rows in capacity.values())
        return HalvingState(levels, jnp.zeros((0, dim), jnp.float32), jnp.zeros(0, jnp.float32), epochs=epochs)

    def ask(self, state: HalvingState) -> tuple[Proposal, HalvingState]:
        """Propose the next rung: survivors first, by row, then fresh points.

        Returns:
          The proposal, and the state past this ask.

        Raises:
          Error: the last proposal has not been told.
        """
        if state.told < state.round:
            raise Error(f"ask: expected the scores of round {state.round} to be told first, none were")
        rungs = [(i, rung) for bracket in self.brackets(state.epochs) for i, rung in enumerate(bracket)]
        number = state.round % len(rungs)
        (step, rung), rows = rungs[number], self.schedule(state.epochs)[number].trials
        kept = rung.trials if step else 0
        unit, parent = survivors(state.levels[0].key, state.unit, state.score, state.asked, kept)
        if rows > kept:
            inner = self.inner or Sobol()
            drawn = snap(inner.points(self._seen(state), rows - kept))
            unit = drawn if not kept else jnp.concatenate([unit, drawn])
            parent = fresh(rows) if not kept else jnp.concatenate([parent, fresh(rows - kept)])
        after = replace(
            state, unit=unit, score=np.full(rows, np.nan, np.float32), asked=state.asked + rows, round=state.round + 1
        )
        return Proposal(unit, parent, rung.epochs), after

    def _seen(self, state: HalvingState) -> History:
        """Choose what the inner sampler learns from: the highest budget with enough points, else that with most."""
        enough = [level for level in state.levels if level.told >= 2 * level.dim + 2]
        level = enough[-1] if enough else max(state.levels, key=lambda level: level.told)
        return replace(level, asked=state.asked, round=state.round)

    def tell(
        self, state: HalvingState, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]
    ) -> HalvingState:
        """Learn the scores of the last proposal.

        Args:
          state: past the ask for it.
          proposal: its P points, as they were trained.
          scores: f32[P], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        if not state.round or np.shape(scores) != state.score.shape:
            raise Error(f"scores: expected shape {state.score.shape}, the last proposal's, got {np.shape(scores)}")
        schedule = self.schedule(state.epochs)
        budget = schedule[(state.round - 1) % len(schedule)].epochs
        levels = self._add(state.levels, budget, schedule, proposal.unit, scores)
        unit, score = snap(jnp.asarray(proposal.unit)), finite(jnp.asarray(scores))
        return replace(state, levels=levels, unit=unit, score=score, told=state.round)

    def recall(
        self,
        state: HalvingState,
        unit: Float[Array | np.ndarray, "N D"],
        scores: Float[Array | np.ndarray, "scores"],
        epochs: int | None = None,
    ) -> HalvingState:
        """Warm start `inner` with an earlier search.

        Args:
          state: before the first ask.
          unit: f32[N, D], its points in the unit cube.
          scores: f32[N], higher is better, NaN is diverged.
          epochs: after which they were measured; None for the full budget.

        Raises:
          Error: no rung has this budget, there are more scores or fewer than points, or these lie outside the unit
            cube.
        """
        schedule = self.schedule(state.epochs)
        budget = state.epochs if epochs is None else epochs
        if budget not in _levels(schedule):
            raise Error(f"epochs: expected one of the budgets {_levels(schedule)}, got {budget}")
        return replace(state, levels=self._add(state.levels, budget, schedule, unit, scores))

    def _add(
        self,
        levels: tuple[History, ...],
        budget: int,
        schedule: tuple[Rung, ...],
        unit: Float[Array | np.ndarray, "N D"],
        scores: Float[Array | np.ndarray, "scores"],
    ) -> tuple[History, ...]:
        """Add points to the level of their budget."""
        check(unit, scores, levels[0].dim)
        budgets = _levels(schedule)
        return tuple(append(h, unit, scores) if b == budget else h for b, h in zip(budgets, levels, strict=True))


@dataclass(frozen=True)
class Hyperband(Halving):
    """Brackets of halving, from many trials at `min_epochs` to few at the full budget, as a hedge between them.

    `population` is the first rung of the widest bracket; every bracket trains for about the same epochs in all.
    `rounds` is how often the set of brackets is run.
    """

    def brackets(self, epochs: int) -> tuple[tuple[Rung, ...], ...]:
        """Plan the rungs of each bracket, the widest first."""
        budgets = self.budgets(epochs)
        count = len(budgets)
        sizes = [math.ceil(self.population * count / (self.eta**i * (count - i))) for i in range(count)]
        return tuple(self._bracket(size, budgets[i:]) for i, size in enumerate(sizes)) * self.rounds


def _levels(schedule: tuple[Rung, ...]) -> list[int]:
    """List the distinct budgets, ascending."""
    return sorted({rung.epochs for rung in schedule})


@partial(jit, static_argnames=("kept",))
def survivors(
    seed: UInt32[Array, "2"], unit: Float32[Array, "P D"], score: Float32[Array, "P"], asked: Int[Array, ""], kept: int
) -> tuple[Float32[Array, "{kept} D"], Int32[Array, "{kept}"]]:
    """Take the `kept` best of a population by row: their points and their rows.

    Where fewer are healthy, the rows that would go to diverged members are fresh (-1).
    """
    order = jnp.argsort(jnp.where(jnp.isnan(score), jnp.inf, -score), stable=True)
    rows = jnp.sort(order[:kept])
    diverged = jnp.isnan(score[rows])
    drawn = spread(seed, asked, kept, unit.shape[1])
    points = jnp.where(diverged[:, None], drawn, unit[rows])
    return points, jnp.where(diverged, -1, rows).astype(jnp.int32)
