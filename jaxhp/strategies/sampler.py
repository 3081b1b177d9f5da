"""A strategy whose every trial starts fresh and trains to the full budget: it only has to say where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from jaxhp.strategies.history import History, append, empty, snap
from jaxhp.trials import Error, Proposal, Rung


def positive(owner: object, name: str, value: Any, least: int = 1) -> int:
    """`value` if it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise Error(f"{type(owner).__name__} {name}: expected an integer, got {value!r}")
    if value < least:
        raise Error(f"{type(owner).__name__} {name}: expected at least {least}, got {value}")
    return int(value)


def fresh(size: int) -> np.ndarray:
    """i32[size], the parents of members that start fresh."""
    return np.full(size, -1, np.int32)


@dataclass(frozen=True)
class Sampler:
    """Base of the strategies that sample points.

    Attributes:
      population: slots a round; or a tuple, the slots of each round (its length is then the number of rounds).
      rounds: how many rounds the schedule has. Asking may go on after it, at the last round's size.
    """

    population: int | tuple[int, ...] = 64
    rounds: int = 1

    def __post_init__(self):
        if isinstance(self.population, (tuple, list)):
            if not self.population:
                raise Error(f"{type(self).__name__} population: expected at least one round, got none")
            sizes = tuple(positive(self, "population", size) for size in self.population)
            object.__setattr__(self, "population", sizes)
            object.__setattr__(self, "rounds", len(sizes))
        else:
            object.__setattr__(self, "population", positive(self, "population", self.population))
            object.__setattr__(self, "rounds", positive(self, "rounds", self.rounds))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The slots of each round."""
        return self.population if isinstance(self.population, tuple) else (self.population,) * self.rounds

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """One `Rung` a round, each at the full budget."""
        return tuple(Rung(size, epochs) for size in self.sizes)

    def init(self, key: jax.Array, dim: int, epochs: int = 1) -> History:
        """The state before the first ask."""
        return empty(key, dim, epochs, sum(self.sizes))

    def ask(self, state: History) -> tuple[Proposal, History]:
        """The next round of fresh points."""
        size = self.sizes[min(state.round, self.rounds - 1)]
        unit = snap(self.points(state, size))
        proposal = Proposal(unit, fresh(size), state.epochs)
        return proposal, replace(state, asked=state.asked + size, round=state.round + 1)

    def tell(self, state: History, proposal: Proposal, scores: jax.Array) -> History:
        """Take in f32[P] scores: higher is better, NaN is diverged. Any points may be told, asked for or not."""
        return append(state, proposal.unit, scores)

    def recall(self, state: History, unit: jax.Array, scores: jax.Array) -> History:
        """Warm start: take in f32[N, D] points and f32[N] scores of an earlier search."""
        return append(state, unit, scores)

    def points(self, history: History, size: int) -> jax.Array:
        """f32[size, D]: where to sample next; a pure function of the history."""
        raise NotImplementedError
