"""What a strategy is: three pure functions over the unit cube, and a schedule made of plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray, PyTree

from jaxhp.trials import Proposal, Rung, Trials
from jaxhp.values import Error

Tell = Callable[[PyTree, Proposal, Trials], PyTree]  # `tell` with whole trials


class Strategy(Protocol):
    """Proposes configs. Never sees weights, and knows a space only as the unit cube [0, 1]^D.

    Strategies are frozen dataclasses, so two with equal fields are the same strategy. Their state is a pytree
    whose leaves are arrays; the number of asks and of told points are static fields of it, so that the shape of
    a proposal may differ from round to round.
    """

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """Plan the asks.

        Args:
          epochs: the full budget of a trial.

        Returns:
          One `Rung` an ask: the rows it fills and the epochs they train to.
        """
        ...

    def init(self, key: PRNGKeyArray, dim: int, epochs: int = 1) -> PyTree:
        """Make the state before the first ask.

        Args:
          key: all that the strategy draws comes from it.
          dim: D, the axes of the unit cube.
          epochs: the full budget of a trial.
        """
        ...

    def ask(self, state: PyTree) -> tuple[Proposal, PyTree]:
        """Propose what to train next. Equal states give equal proposals.

        Returns:
          The proposal, and the state past this ask.
        """
        ...

    def tell(self, state: PyTree, proposal: Proposal, scores: Float32[Array, "scores"]) -> PyTree:
        """Learn the scores of a proposal.

        Args:
          state: past the ask for the proposal.
          proposal: its P points, as they were trained.
          scores: f32[P], higher is better, NaN is diverged.

        Returns:
          The state that knows them.

        Raises:
          Error: there are more scores or fewer than points.
        """
        ...


def include(proposal: Proposal, unit: Float[Array | np.ndarray, "..."]) -> Proposal:
    """Put points of one's own into the first rows of a proposal that start fresh.

    Train and tell the proposal that this gives: a strategy learns from whatever is told.

    Args:
      proposal: what a strategy asked for.
      unit: f32[K, D], points in the unit cube.

    Returns:
      The proposal with these points.

    Raises:
      Error: there are more points than rows that start fresh, or their dimensions differ.
    """
    rows = np.flatnonzero(np.asarray(proposal.parent) < 0)[: len(unit)]
    if np.ndim(unit) != 2 or np.shape(unit) != (len(rows), proposal.unit.shape[1]):
        room = f"at most {int(np.sum(np.asarray(proposal.parent) < 0))} points of {proposal.unit.shape[1]} dimensions"
        raise Error(f"unit: expected {room}, got shape {np.shape(unit)}")
    return proposal._replace(unit=jnp.asarray(proposal.unit).at[rows].set(jnp.asarray(unit, jnp.float32)))
