"""The strategy to use when there is no reason to use another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float32

from jaxhp.strategies.gp import GP
from jaxhp.strategies.history import History, answered, asked
from jaxhp.strategies.outer import turns
from jaxhp.strategies.sampler import Sampler
from jaxhp.strategies.tpe import TPE
from jaxhp.trials import Proposal

MODELLED = 4000  # points; a longer history is TPE's
TREES = 64


@dataclass(frozen=True)
class Auto(Sampler):
    """Sobol points first; then a Gaussian process and a forest in turn, and TPE once more than 4,000 points are told.

    Where the first round is told other points than were asked for, as from a pool of configs, three of four rows
    are outer moves (`outer.py`).

    Chosen by `experiments/benchmarks/strategies.py`. A third of each batch from TPE, as a hedge, was tried and is not
    worth its rows: what TPE would propose is among the candidates of the process.
    """

    rounds: int = 4

    def ask(self, state: History) -> tuple[Proposal, History]:
        """Propose the next round of fresh points.

        Returns:
          The proposal, and the state past this ask, which remembers the first round.
        """
        proposal, after = super().ask(state)
        return proposal, asked(after, proposal.unit)

    def tell(self, state: History, proposal: Proposal, scores: Float32[Array | np.ndarray, "scores"]) -> History:
        """Learn scores, and in the first round whether other points were told than asked for.

        Args:
          state: the state so far.
          proposal: its P points count.
          scores: f32[P], higher is better, NaN is diverged.

        Raises:
          Error: there are more scores or fewer than points, or these lie outside the unit cube.
        """
        return answered(super().tell(state, proposal, scores), proposal.unit)

    def points(self, history: History, size: int) -> Float32[Array, "{size} D"]:
        """Choose `size` points, f32[size, D], by a model and, where points are displaced, by outer moves."""
        model = TPE() if history.told > MODELLED else GP(rounds=self.rounds, trees=TREES)
        return turns(history, model.points(history, size))
