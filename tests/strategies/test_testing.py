"""The contract suite catches strategies that are broken on purpose."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxhp.strategies import Halving, History, Narrowing, Random, testing
from jaxhp.trials import Proposal, Rung


@dataclass(frozen=True)
class OutOfBounds(Random):
    def ask(self, state):
        proposal, state = super().ask(state)
        return proposal._replace(unit=proposal.unit * 1.5), state


@dataclass(frozen=True)
class NotANumber(Random):
    def ask(self, state):
        proposal, state = super().ask(state)
        return proposal._replace(unit=proposal.unit.at[0, 0].set(jnp.nan)), state


@dataclass(frozen=True)
class OffTheGrid(Random):
    def ask(self, state):
        proposal, state = super().ask(state)
        return proposal._replace(unit=proposal.unit / 3), state


@dataclass(frozen=True)
class UnknownParents(Random):
    def ask(self, state):
        proposal, state = super().ask(state)
        return proposal._replace(parent=np.arange(len(proposal.unit), dtype=np.int32)), state


@dataclass(frozen=True)
class OneRowMore(Random):
    def schedule(self, epochs):
        return tuple(Rung(rung.trials + 1, rung.epochs) for rung in super().schedule(epochs))


@dataclass(frozen=True)
class MoreEpochs(Random):
    def ask(self, state):
        proposal, state = super().ask(state)
        return proposal._replace(budget=proposal.budget + 1), state


@dataclass(frozen=True)
class GlobalRandomness(Random):
    def points(self, history, size):
        return jnp.asarray(np.random.random((size, history.dim)), jnp.float32)  # noqa: NPY002


@dataclass(frozen=True)
class DeafToTheKey(Random):
    def points(self, history, size):
        return jax.random.uniform(jax.random.key(history.asked), (size, history.dim))


@dataclass(frozen=True)
class HiddenState(Random):
    asked: Any = ()

    def points(self, history, size):
        object.__setattr__(self, "asked", (*self.asked, size))
        return super().points(replace(history, asked=len(self.asked)), size)


@dataclass(frozen=True)
class LooksAtScores(Random):
    def points(self, history, size):
        shift = float(jnp.nan_to_num(jnp.nanmax(history.score))) if history.told else 0.0
        return super().points(history, size) * (1.0 if shift > 2 else 0.5)


@dataclass(frozen=True)
class Minimises(Narrowing):
    def tell(self, state, proposal, scores):
        return super().tell(state, proposal, -scores)


@dataclass(frozen=True)
class CopiesTheBest(Random):
    def points(self, history, size):
        if not history.told:
            return super().points(history, size)
        return jnp.broadcast_to(history.unit[jnp.nanargmax(history.score)], (size, history.dim))


@dataclass(frozen=True)
class TypedKeyInTheState(Random):
    def init(self, key, dim, epochs=1):
        return key, super().init(key, dim, epochs)

    def ask(self, state):
        proposal, history = super().ask(state[1])
        return proposal, (state[0], history)

    def tell(self, state, proposal, scores):
        return state[0], super().tell(state[1], proposal, scores)


@dataclass(frozen=True)
class ForgetsWhenSaved(Random):
    def points(self, history, size):
        kept = {} if isinstance(history.unit, np.ndarray) else {"asked": history.asked + history.told}
        return super().points(replace(history, **kept), size)


@dataclass(frozen=True)
class OverflowsAtExtremes(Random):
    def points(self, history, size):
        if not history.told:
            return super().points(history, size)
        score = jnp.nan_to_num(history.score)
        weight = jax.nn.softmax((score - jnp.mean(score)) / jnp.maximum(jnp.std(score), 1e-6))
        return (super().points(history, size) + (weight @ history.unit)[None]) / 2


@dataclass(frozen=True)
class BelievesAnything(Random):
    def tell(self, state: History, proposal: Proposal, scores):
        return state


@dataclass(frozen=True)
class DivergedWins(Halving):
    def tell(self, state, proposal, scores):
        return super().tell(state, proposal, jnp.where(jnp.isnan(scores), 9.0, scores))


@dataclass(frozen=True)
class WorstGoOn(Halving):
    def tell(self, state, proposal, scores):
        return super().tell(state, proposal, -scores)


@dataclass(frozen=True)
class EndsInSilence(Random):
    def ask(self, state):
        if state.round >= self.rounds:
            raise ValueError
        return super().ask(state)


BROKEN = [
    (OutOfBounds(12, 2), testing.check_bounds),
    (NotANumber(12, 2), testing.check_bounds),
    (OffTheGrid(12, 2), testing.check_bounds),
    (UnknownParents(12, 2), testing.check_bounds),
    (OneRowMore(12, 2), testing.check_schedule),
    (MoreEpochs(12, 2), testing.check_schedule),
    (GlobalRandomness(12, 2), testing.check_determinism),
    (DeafToTheKey(12, 2), testing.check_key_matters),
    (HiddenState(12, 2), testing.check_purity),
    (LooksAtScores(12, 2), testing.check_jit),
    (Minimises(24, 4), testing.check_improves),
    (CopiesTheBest(12, 2), testing.check_ties),
    (TypedKeyInTheState(12, 2), testing.check_saved),
    (ForgetsWhenSaved(12, 2), testing.check_saved),
    (OverflowsAtExtremes(12, 2), testing.check_extremes),
    (BelievesAnything(12, 2), testing.check_bad_input),
    (DivergedWins(9), testing.check_diverged),
    (WorstGoOn(9), testing.check_best_survive),
    (EndsInSilence(12, 2), testing.check_beyond),
]


@pytest.mark.parametrize(("strategy", "check"), BROKEN, ids=[type(strategy).__name__ for strategy, _ in BROKEN])
def test_broken_strategy_is_caught(strategy, check):
    with pytest.raises(AssertionError) as caught:
        check(strategy, 2)
    assert str(caught.value)


def test_every_check_catches_something():
    assert set(testing.CHECKS) == {check for _, check in BROKEN}


def test_a_sound_strategy_passes_them_all():
    testing.check_strategy(Random(population=8, rounds=2), dims=(2,))
