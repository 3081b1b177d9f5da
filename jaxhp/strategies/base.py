"""What a strategy is: three pure functions over the unit cube, and a schedule made of plain data."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxhp.trials import Error, Proposal, Rung


class Strategy(Protocol):
    """Proposes configs. Never sees weights, and knows a space only as the unit cube [0, 1]^D.

    Strategies are frozen dataclasses, so two with equal fields are the same strategy. Their state is a pytree
    whose leaves are arrays; the number of asks and of told points are static fields of it, so that the shape of
    a proposal may differ from round to round.
    """

    def schedule(self, epochs: int) -> tuple[Rung, ...]:
        """One `Rung` an ask: the slots it fills and the epochs they train to, `epochs` being the full budget."""
        ...

    def init(self, key: jax.Array, dim: int, epochs: int = 1) -> Any:
        """The state before the first ask, for `dim` dimensions and a full budget of `epochs`."""
        ...

    def ask(self, state: Any) -> tuple[Proposal, Any]:
        """The next proposal. Equal states give equal proposals; the new state is past this ask."""
        ...

    def tell(self, state: Any, proposal: Proposal, scores: jax.Array) -> Any:
        """Take in f32[P] scores for a proposal: higher is better, NaN is diverged."""
        ...


def include(proposal: Proposal, unit: jax.Array | np.ndarray) -> Proposal:
    """The proposal with f32[K, D] points of one's own in its first slots that start fresh.

    Train and tell the proposal that this gives: a strategy learns from whatever is told.

    Raises:
      Error: there are more points than slots that start fresh, or their dimensions differ.
    """
    slots = np.flatnonzero(np.asarray(proposal.parent) < 0)[: len(unit)]
    if np.ndim(unit) != 2 or np.shape(unit) != (len(slots), proposal.unit.shape[1]):
        room = f"at most {int(np.sum(np.asarray(proposal.parent) < 0))} points of {proposal.unit.shape[1]} dimensions"
        raise Error(f"unit: expected {room}, got shape {np.shape(unit)}")
    return proposal._replace(unit=jnp.asarray(proposal.unit).at[slots].set(jnp.asarray(unit, jnp.float32)))
