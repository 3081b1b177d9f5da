"""A strategy whose every trial starts fresh and trains to the full budget: it only has to say where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Array, Float, Float32, Int32, PRNGKeyArray

from jaxhp.strategies.history import History, append, empty, snap
from jaxhp.trials import Proposal, Rung
from jaxhp.values import Error, check_int


def positive(owner: object, name: str, value: object, least: int = 1) -> int:
    """Check a setting that is an integer, in messages that name the strategy.

    Args:
      owner: the strategy.
      name: of the setting.
      value: of the setting.
      least: the smallest that it may be.

    Returns:
      The value as a Python int.

    Raises:
      Error: it is no integer.
      Error: it is less than `least`.
    """
    return check_int(f"{type(owner).__name__} {name}", value, least)


def fresh(size: int) -> Int32[np.ndarray, "{size}"]:
    """Make i32[size], the parents of members that start fresh."""
    return np.full(size, -1, np.int32)


@dataclass(frozen=True)
class Sampler:
    """Base of the strategies that sample points.

    Attributes:
      population: rows a round; or a tuple, the rows of each round (its length is then the number of rounds).
      rounds: how many rounds the schedule has. Asking may go on after it, at the last round's size.
    """

    __no_type_check__ = True  # of the settings: `__post_init__` checks them, with messages of its own

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
        """Give the rows of each round."""
        return self.population if isinstance(self.population, tuple) else (self.population,) * self.rounds

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks: one `Rung` a round, each at the full budget of `epochs`."""
        return tuple(Rung(size, epochs) for size in self.sizes)

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> History:
        """Make the state before the first ask.

        Args:
          key: all that the strategy draws comes from it.
          dim: D, the axes of the unit cube.
          epochs: the full budget of a trial.

        Raises:
          Error: `dim` or `epochs` is no integer of at least 1.
        """
        return empty(key, dim, epochs, sum(self.sizes))

    def ask(self, state: History) -> tuple[Proposal, History]:
        """Propose the next round of fresh points.

        Returns:
          The proposal, and the state past this ask.
        """
        size = self.sizes[min(state.round, self.rounds - 1)]
        unit = snap(self.points(state, size))
        proposal = Proposal(unit, fresh(size), state.epochs)
        return proposal, replace(state, asked=state.asked + size, round=state.round + 1)

    def tell(self, state: History, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]) -> History:
        """Learn the scores of points, whether they were asked for or not.

        Args:
          state: the state so far.
          proposal: its P points count.
          scores: f32[P], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        return append(state, proposal.unit, scores)

    def recall(
        self, state: History, unit: Float[Array | np.ndarray, "N D"], scores: Float[Array | np.ndarray, "scores"]
    ) -> History:
        """Learn from an earlier search, before the first ask.

        Args:
          state: the state so far.
          unit: f32[N, D], its points in the unit cube.
          scores: f32[N], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        return append(state, unit, scores)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose where to sample next; a pure function of the history.

        Args:
          history: what was told, and how far the asking has come.
          size: P, how many points.

        Returns:
          f32[P, D] points in the unit cube.
        """
        raise NotImplementedError


class Blind(Sampler):
    """Base of the samplers that look at no score, and so serve any number of objectives."""

    def tell_objectives(
        self,
        state: History,
        proposal: Proposal,
        scores: Float32[Array | np.ndarray, "P K"],
        violation: Float32[Array | np.ndarray, "P"],
    ) -> History:
        """Learn which points were told; see `Pareto.tell_objectives`."""
        return self.tell(state, proposal, scores[:, 0])
