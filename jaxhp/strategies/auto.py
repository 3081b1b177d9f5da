"""The strategy to use when there is no reason to use another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Float32, Int, PRNGKeyArray

from jaxhp.compiling import jit
from jaxhp.strategies import budgets
from jaxhp.strategies.gp import CANDIDATES, GP
from jaxhp.strategies.halving import survivors
from jaxhp.strategies.history import History, append, empty, finite, snap
from jaxhp.strategies.sampler import Sampler, fresh
from jaxhp.strategies.sobol import spread
from jaxhp.strategies.tpe import TPE
from jaxhp.trials import Proposal, Rung
from jaxhp.values import Error

MODELLED = 4000  # points; without rungs a longer history is TPE's
TREES = 64
EARLIEST = 32  # points that tell whether values are few
RUNGS = 1 / 9, 1 / 3, 1.0  # shares of the full budget
SHARES = 1.0, 2 / 5, 1 / 6  # of a round's trials that come to each rung
SHORT = 4  # epochs of a full budget that is too small for rungs: fewer than these


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Climb(History):
    """What was told at all rungs, and the population whose best go on.

    A point's last coordinate is the rung, from 0 for the first to 1 for the full budget.
    """

    population: Float32[Array | np.ndarray, "P dim"] = field(kw_only=True)  # the last points, without their rung
    standing: Float32[Array | np.ndarray, "P"] = field(kw_only=True)  # their scores; NaN before they are told
    rungs: int = field(default=0, kw_only=True, metadata={"static": True})  # told


@dataclass(frozen=True)
class Auto(Sampler):
    """Sobol points first; then batches from a Gaussian process that learns from every rung (`budgets.py`).

    Each round is a bracket of successive halving: all of its trials train for a ninth of the epochs, the best two
    fifths of them for a third of the epochs, and the best sixth to the end. A search takes less than a third of the
    epochs of as many full trainings. Budgets of fewer than 4 epochs have no rungs.

    Where most coordinates have a few values each, as in spaces of choices and integers, a forest picks every other row.
    Without rungs the process is `GP`'s, and TPE's once more than 4,000 points are told.

    Chosen by `experiments/benchmarks/rungs.py` and `experiments/benchmarks/strategies.py`.
    """

    rounds: int = 4

    def budgets(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs of the rungs of a round, ascending; the last is the full budget."""
        if epochs < SHORT:
            return (epochs,)
        return tuple(sorted({max(1, round(epochs * share)) for share in RUNGS}))

    def brackets(self, epochs: int) -> tuple[tuple[Rung, ...], ...]:
        """Plan the rungs of each round."""
        *lower, full = self.budgets(epochs)
        shares = [*zip(SHARES, lower, strict=False), (SHARES[-1] if lower else 1.0, full)]
        return tuple(tuple(Rung(max(1, round(size * s)), budget) for s, budget in shares) for size in self.sizes)

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks: one `Rung` each, round after round."""
        return tuple(rung for bracket in self.brackets(epochs) for rung in bracket)

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> History:
        """Make the state before the first ask, a `Climb` where there are rungs; see `Sampler.init`."""
        state = super().init(key, dim, epochs)
        if len(self.budgets(epochs)) == 1:
            return state
        begun = empty(key, dim + 1, epochs, sum(rung.trials for rung in self.schedule(epochs)))
        return Climb(**vars(begun), population=jnp.zeros((0, dim), jnp.float32), standing=jnp.zeros(0, jnp.float32))

    def ask(self, state: History) -> tuple[Proposal, History]:
        """Propose fresh points, or after a rung those of its trials that go on.

        Returns:
          The proposal, and the state past this ask.

        Raises:
          Error: there are rungs, and the last proposal has not been told.
        """
        if not isinstance(state, Climb):
            return super().ask(state)
        if state.rungs < state.round:
            raise Error(f"ask: expected the scores of round {state.round} to be told first, none were")
        number, step = divmod(state.round, len(self.budgets(state.epochs)))
        rung = self.brackets(state.epochs)[min(number, self.rounds - 1)][step]
        if step:
            unit, parent = survivors(state.key, state.population, state.standing, state.asked, rung.trials)
        else:
            unit, parent = snap(self._begun(state, number, rung.trials)), fresh(rung.trials)
        blank = jnp.full(rung.trials, jnp.nan, jnp.float32)
        asked = state.asked + rung.trials
        after = replace(state, asked=asked, round=state.round + 1, population=unit, standing=blank)
        return Proposal(unit, parent, rung.epochs), after

    def _begun(self, state: Climb, number: int, size: int) -> Float32[Array, "{size} D"]:
        """Choose the points of a round."""
        base = spread(state.key, state.asked, max(CANDIDATES // 3, size), state.dim - 1)
        if state.told == 0:
            return base[:size]
        left = jnp.float32(max(0, self.rounds - 1 - number) / max(1, self.rounds - 1))
        belief = budgets.learn(state.key, state.round, state.unit, state.score, state.told)
        of = state.key, state.round, left, base, belief, size
        few = few_values(state.unit[:, :-1], state.unit[:, -1], state.told)
        if isinstance(few, Tracer):
            return jax.lax.cond(few, lambda: budgets.batch(*of, TREES), lambda: budgets.batch(*of, 0))
        return budgets.batch(*of, TREES if few else 0)

    def tell(self, state: History, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]) -> History:
        """Learn scores; where there are rungs, those of the last proposal.

        Args:
          state: past the ask for it.
          proposal: its P points, as they were trained.
          scores: f32[P], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        if not isinstance(state, Climb):
            return super().tell(state, proposal, scores)
        if not state.round or np.shape(scores) != state.standing.shape:
            raise Error(f"scores: expected shape {state.standing.shape}, the last proposal's, got {np.shape(scores)}")
        last = len(self.budgets(state.epochs)) - 1
        after = _told(state, proposal.unit, scores, (state.round - 1) % (last + 1) / last)
        unit, standing = snap(jnp.asarray(proposal.unit)), finite(jnp.asarray(scores))
        return replace(after, population=unit, standing=standing, rungs=state.round)

    def recall(
        self, state: History, unit: Float[Array | np.ndarray, "N D"], scores: Float[Array | np.ndarray, "scores"]
    ) -> History:
        """Learn from full trainings of an earlier search, before the first ask; see `Sampler.recall`."""
        return _told(state, unit, scores, 1.0) if isinstance(state, Climb) else super().recall(state, unit, scores)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose `size` points, f32[size, D], by a model of full trainings."""
        if history.told > MODELLED:
            return TPE().points(history, size)
        smooth, rough = GP(rounds=self.rounds), GP(rounds=self.rounds, trees=TREES)
        if history.told == 0:
            return smooth.points(history, size)
        few = few_values(history.unit, jnp.zeros_like(history.score), history.told)
        if isinstance(few, Tracer):
            return jax.lax.cond(few, lambda: rough.points(history, size), lambda: smooth.points(history, size))
        return (rough if few else smooth).points(history, size)


def _told(
    state: Climb, unit: Float[Array | np.ndarray, "..."], scores: Float[Array | np.ndarray, "..."], rung: float
) -> Climb:
    """Add points that were told at a rung."""
    unit = jnp.asarray(unit)
    if unit.ndim != 2 or unit.shape[1] != state.dim - 1:
        raise Error(f"unit: expected points of shape (P, {state.dim - 1}), got {unit.shape}")
    after = append(state, jnp.concatenate([unit, jnp.full((len(unit), 1), rung, unit.dtype)], axis=1), scores)
    assert isinstance(after, Climb)
    return after


@jit
def few_values(unit: Float32[Array, "C D"], rung: Float32[Array, "C"], told: Int[Array, ""]) -> Bool[Array, ""]:
    """Tell whether most coordinates of the told points have a few values each, as those of choices and integers have.

    Args:
      unit: f32[C, D], points.
      rung: f32[C], where each was told; the earliest of the first rung count, of which later ones may descend.
      told: how many rows, from the first on, are told.
    """
    present = jnp.arange(unit.shape[0]) < told
    present = present & (rung == jnp.min(rung, initial=1.0, where=present))
    present = present & (jnp.cumsum(present) <= EARLIEST)
    ordered = jnp.sort(jnp.where(present[:, None], unit, 2.0), axis=0)
    new = jnp.concatenate([jnp.ones((1, unit.shape[1]), bool), ordered[1:] != ordered[:-1]])
    distinct = jnp.sum(new & present[:, None], axis=0)
    return 2 * jnp.sum(8 * distinct <= 5 * jnp.sum(present)) >= unit.shape[1]
